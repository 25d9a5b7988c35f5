"""Options and data that do not fit: one sentence with what is meant, before anything is made."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Array
from converters.exam import npz_bytes
from edgeops import cli
from tests.unit.converters.nets import floats, net, node

RECIPE = """
model: net.onnx
name: net
version: 1.0.0
task: {type: classification, labels: [a, b, c]}
input: {layout: none}
calibration: {data: x.npz}
evaluation: {data: x.npz, metric: top1, max_drop: 0.5}
outputs: [{runtime: onnx, precision: int8}]
raw: true
"""


def dense(inputs: int = 1) -> bytes:
    """Return a dense layer; of the sum of its inputs, where there are several."""
    nodes = [node("Gemm", "x0 w b", "y", name="layer")]
    if inputs == 2:
        nodes = [node("Add", "x0 x1", "s"), node("Gemm", "s w b", "y", name="layer")]
    return net(
        nodes,
        inputs={f"x{number}": ["N", 4] for number in range(inputs)},
        outputs={"y": ["N", 3]},
        constants={"w": floats(1, 4, 3), "b": np.zeros(3, np.float32)},
    )


def nothing_to_ask() -> bytes:
    return net(
        [node("Identity", "w", "y")],
        inputs={},
        outputs={"y": [1, 3]},
        constants={"w": floats(1, 1, 3)},
    )


def rows(**changes: Array) -> bytes:
    data: dict[str, Array] = {"x": floats(2, 12, 4), "y": np.arange(12) % 3}
    return npz_bytes({**data, **changes})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "net.onnx").write_bytes(dense())
    (tmp_path / "x.npz").write_bytes(rows())
    return tmp_path


def convert(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = cli.main(["convert", "--recipe", "recipe.yaml", "--out", "out", *words])
    return status, capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str]:
    status, err = convert(capsys, *words)
    sentences = [line for line in err.splitlines() if line.startswith("edgeops: ")]
    assert len(sentences) == 1, err
    assert not (folder / "out").exists() or not any((folder / "out").iterdir())
    return status, sentences[0]


def test_the_folder_itself_converts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, err = convert(capsys)
    assert status == 0, err


@pytest.mark.parametrize("place", ["net-1.0.0/mine.txt", "net-1.0.0"], ids=["folder", "file"])
def test_what_is_no_bundle_is_never_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    mine = folder / "out" / place
    mine.parent.mkdir(parents=True)
    mine.write_text("kept")

    status, err = convert(capsys)

    assert status == 74
    assert "net-1.0.0 exists and is no bundle" in err
    assert mine.read_text() == "kept"
    assert [path.name for path in (folder / "out").iterdir()] == ["net-1.0.0"]


@pytest.mark.parametrize("suffix", [".edgeops", ".report.html", ".report.json"])
def test_a_folder_in_a_files_place_is_told_before_anything_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    (folder / f"out/net-1.0.0{suffix}").mkdir(parents=True)

    status, err = convert(capsys)

    assert status == 74
    assert f"net-1.0.0{suffix} is a folder" in err
    assert [path.name for path in (folder / "out").iterdir()] == [f"net-1.0.0{suffix}"]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ("--shape x", 2, "expected NAME=1,3,224,224"),
        ("--shape x0=1,four", 2, "expected NAME=1,3,224,224"),
        ("--shape x0=1,5", 70, "input 'x0' is [open, 4], the shape given [1, 5]"),
        ("--to ,", 2, "--to names nothing"),
        ("--check out", 2, "leave --out and --key away"),
        ("make:net", 2, "--format, one of pytorch, keras, sklearn, xgboost, lightgbm"),
        ("--prune much", 2, "expected a share such as 0.2, or auto"),
        ("--prune 2", 65, "a flag or variable: prune.ratio"),
        ("--version 1", 65, "version: Expected a version such as 1.2.0"),
        ("--finetune none.yaml", 74, "No such file"),
        ("--format pickle", 65, "format"),
        ("--target toaster", 2, "no target 'toaster'"),
        ("--target mcu-tflm", 2, "has the runtime tflite, not onnx"),
        ("--target edgetpu --to onnx", 2, "has the runtime tflite, not onnx"),
        ("--io int64", 65, "io"),
        ("--calibration-method best", 65, "calibration.method"),
        ("--samples 0", 65, "calibration.samples"),
        ("--metric auc", 2, "auc"),
        ("--slices site", 2, "x.npz has no column 'site' to split by; it has none"),
        ("--keep-float no-layer", 2, "no-layer"),
        ("--scales-from none.edgeops", 74, "none.edgeops"),
        ("--max-drop 3", 65, "evaluation.max_drop"),
        ("--precision int16x8", 65, "int16x8 is for tflite alone"),
        ("--evaluate x\udcff.npz", 2, "x\\udcff.npz' is no UTF-8 text: rename the file"),
        ("--calibration x\udcff.npz", 2, "is no UTF-8 text: rename the file"),
    ],
)
def test_an_option_that_cannot_be_meant(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, status: int, sentence: str
) -> None:
    found = refused(capsys, folder, *words.split())

    assert found[0] == status, found[1]
    assert sentence in found[1]


MODELS: dict[str, tuple[Callable[[], bytes], str]] = {
    "two-inputs": (lambda: dense(2), "the model has 2 inputs (x0, x1)"),
    "no-input": (nothing_to_ask, "the model has no input"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_no_sample_can_be_fed_to(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    made, sentence = MODELS[kind]
    (folder / "net.onnx").write_bytes(made())

    found = refused(capsys, folder)

    assert found[0] == 70
    assert sentence in found[1]


DATA: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "other-width": (lambda: rows(x=floats(2, 12, 5)), 70, "x.npz: sample 0: "),
    "one-axis-too-many": (lambda: rows(x=floats(2, 12, 4, 1, 1)), 0, ""),
    "infinite": (lambda: rows(x=np.full((12, 4), np.inf, np.float32)), 65, "holds NaN or infinity"),
    "texts": (lambda: rows(x=np.array([["a"] * 4] * 12)), 70, "x.npz: sample 0: cannot"),
    "labels-of-another-task": (lambda: rows(y=np.arange(12)), 65, "y[3]"),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_that_do_not_fit_the_model(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    content, status, sentence = DATA[kind]
    (folder / "x.npz").write_bytes(content())
    if status == 0:  # raw data are tensors of the right number of values
        assert convert(capsys)[0] == 0
        return

    found = refused(capsys, folder)

    assert found[0] == status, found[1]
    assert sentence in found[1]


@pytest.mark.parametrize("labels", ["a,b", "a,b,c,d"])
def test_labels_that_are_not_as_many_as_outputs_are_refused_without_data_too(
    folder: Path, capsys: pytest.CaptureFixture[str], labels: str
) -> None:
    status = cli.main(["convert", "net.onnx", "--out", "out", "--labels", labels])

    assert status == 70
    assert "has 3 classes" in capsys.readouterr().err
    assert not any((folder / "out").iterdir())


@pytest.mark.parametrize("suffix", ["pkl", "joblib", "pt"])
def test_a_file_that_can_run_code_is_not_read_unless_its_format_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    (folder / f"net.{suffix}").write_bytes(b"\x80\x04cos\nsystem\n.")

    found = refused(capsys, folder, f"net.{suffix}")

    assert found[0] == 2
    assert "can run code" in found[1]


def no_layer() -> bytes:
    nodes = [node("Sigmoid", "x0", "s"), node("Slice", "s b e a", "y")]
    at = {"b": np.array([0]), "e": np.array([3]), "a": np.array([1])}
    return net(nodes, inputs={"x0": ["N", 4]}, outputs={"y": ["N", 3]}, constants={**at})


def test_int8_of_a_model_without_a_layer_leaves_the_other_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "net.onnx").write_bytes(no_layer())

    status, err = convert(capsys, "--to", "onnx,tflite", "--precision", "int8,float32")

    assert status == 0, err
    for runtime in ("onnx", "tflite"):
        assert f"fallback: {runtime} int8 is not made: int8 would change nothing" in err
    made = [file.name for file in sorted((folder / "out").rglob("*.*")) if file.is_file()]
    assert {"float32.onnx", "float32.tflite"} <= {*made}, made


def test_int8_alone_of_a_model_without_a_layer_is_refused_with_a_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "net.onnx").write_bytes(no_layer())

    status, err = convert(capsys)

    assert status == 70
    assert "int8 would change nothing: the model has no layer to quantize" in err
    assert sorted(f.suffix for f in (folder / "out").iterdir()) == [".html", ".json"]


def test_layers_that_shall_all_stay_float_get_another_precision(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, err = convert(capsys, "--keep-float", "layer")

    assert status == 0, err
    assert "onnx int8 is not made: int8 would change nothing" in err
    assert "dynamic-int8 takes its place" in err


def test_rung_that_leaves_nothing_integer_is_one_more_that_misses_the_budget(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two layers, half may stay float; the first has all but 1 % of the work."""
    x, w, v = floats(2, 12, 400), floats(1, 400, 400), floats(3, 400, 1)
    nodes = [node("Gemm", "x0 w", "h", name="large"), node("Gemm", "h v", "y", name="small")]
    data = net(
        nodes,
        inputs={"x0": ["N", 400]},
        outputs={"y": ["N", 1]},
        constants={"w": w, "v": v},
    )
    (folder / "net.onnx").write_bytes(data)
    recipe = RECIPE.replace("top1, max_drop: 0.5", "mse, max_drop: 0").replace(
        "{type: classification, labels: [a, b, c]}", "{type: regression}"
    )
    (folder / "recipe.yaml").write_text(recipe)
    (folder / "x.npz").write_bytes(rows(x=x, y=(x @ w @ v)[:, 0]))

    _, err = convert(capsys)

    assert "int8 misses the budget" in err


@pytest.mark.parametrize("kind", MODELS)
def test_without_a_recipe_such_a_model_is_refused_as_well(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    made, sentence = MODELS[kind]
    (folder / "net.onnx").write_bytes(made())

    assert cli.main(["convert", "net.onnx", "--out", "out"]) == 70
    assert sentence in capsys.readouterr().err
