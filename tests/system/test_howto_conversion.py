"""The pages about conversion are true: their commands run in order, as they stand."""

import json
import re
from pathlib import Path

import pytest

from converters.recipe import load_recipe
from tests.system.test_howto import HOWTO, ROOT, play


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder like a checkout that the pages may write into."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


def played(name: str, tmp_path: Path, checkout: Path) -> str:
    """Run a page; return what it said."""
    said = play(HOWTO / name, tmp_path, cwd=checkout)["first"]
    assert "Traceback" not in said, said
    return said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_converting_a_model_works_as_written(tmp_path: Path, checkout: Path) -> None:
    said = played("convert-a-model.md", tmp_path, checkout)

    assert "no data given: variants were compared on invented inputs only" in said
    assert "verdict: pass" in said
    assert "rebuilt byte for byte" in said
    made = {path.name for path in (checkout / "bundles/visual-inspection-1.0.0/models").iterdir()}
    assert made == {"int8.tflite", "int8.onnx", "float32.tflite", "float32.onnx"}
    assert (checkout / "build/pi/visual-inspection-1.0.0.report.html").is_file()


def test_the_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    page = (HOWTO / "convert-a-model.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(text)

    recipe = load_recipe(tmp_path / "recipe.yaml", {}).recipe

    assert [output.precision for output in recipe.outputs] == ["int8", "int8", "float32"]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_pruning_works_as_written(tmp_path: Path, checkout: Path) -> None:
    said = played("prune.md", tmp_path, checkout)

    assert re.search(r"pruned [1-9][\d.]*% of the channels", said)
    document = checkout / "build/pruned/visual-inspection-1.0.0.report.json"
    before, after = json.loads(document.read_bytes())["pruning"]["parameters"]
    assert after < before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_reading_the_report_works_as_written(tmp_path: Path, checkout: Path) -> None:
    said = played("reading-the-report.md", tmp_path, checkout)

    assert "top1 drops by -0.6" in said, "the broken version is not told apart"
    page = (checkout / "build/bundles/visual-inspection-1.0.0.report.html").read_text()
    assert "laptop" in page, "the board that was measured is not drawn"
