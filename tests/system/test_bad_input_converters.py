"""Models, data and recipes that cannot be converted or judged: a sentence, and no bundle."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgeops.testing.models import color_classifier, color_frame
from edgeops.trust import SigningKey
from tests.system.command import Ended, edgeops

RECIPE = """
model: model.onnx
name: colours
version: 1.0.0
task: {type: classification, labels: [red, green, blue], activation: none}
input: {layout: nchw, preprocess: [{scale: 0.00392156862745098}]}
calibration: {data: calibration.npz, samples: 6, seed: 1}
evaluation: {data: evaluation.npz, metric: top1, max_drop: 0.5}
outputs: [{runtime: onnx, precision: int8}]
"""

IMAGES = np.stack([color_frame(c, width=8, height=8) for c in ("red", "green", "blue")] * 4)
LABELS = np.arange(12) % 3

Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder from which a conversion succeeds."""
    key = SigningKey.generate()
    key.save(tmp_path / "release.key", tmp_path / "release.pub")
    color_classifier(tmp_path / "model.onnx")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    for name in ("calibration.npz", "evaluation.npz"):
        np.savez(tmp_path / name, x=IMAGES, y=LABELS)
    return tmp_path


def convert(desk: Path, *words: str, key: str = "release.key") -> Ended:
    return edgeops(
        *["convert", "--recipe", "recipe.yaml", "--out", "out", "--key", key, *words], cwd=desk
    )


def refused(desk: Path, *words: str, key: str = "release.key") -> tuple[int, str]:
    found = convert(desk, *words, key=key).refusal()
    out = desk / "out"
    assert not out.exists() or not any(out.iterdir()), "no half of a bundle is left"
    return found


def test_the_desk_itself_converts(desk: Path) -> None:
    assert convert(desk).status == 0
    assert (
        edgeops("evaluate", "out/colours-1.0.0", "--data", "evaluation.npz", cwd=desk).status == 0
    )


def _unsupported(path: Path, operator: str, domain: str = "") -> None:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    node = helper.make_node(operator, ["x"], ["y"], name="odd", domain=domain)
    graph = helper.make_graph([node], "g", [image], [scores])
    sets = [helper.make_opsetid("", 13), helper.make_opsetid("my.ops", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), path)


def _folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


MODELS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "missing": (lambda path: path.unlink(), 74, "No such file"),
    "folder": (_folder_instead, 74, "a folder without"),
    "empty": (lambda path: path.write_bytes(b""), 70, "not an ONNX model"),
    "text": (lambda path: path.write_text("hello"), 70, "not an ONNX model"),
    "truncated": (
        lambda path: path.write_bytes(path.read_bytes()[:150]), 70, "not an ONNX model"
    ),
    "pickle": (lambda path: path.write_bytes(b"\x80\x04."), 70, "not an ONNX model"),
    "unknown-operator": (lambda path: _unsupported(path, "Zonk", "my.ops"), 70, "Zonk"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_is_none(desk: Path, kind: str) -> None:
    spoil, status, words = MODELS[kind]
    spoil(desk / "model.onnx")

    found = refused(desk)

    assert (found[0], words in found[1]) == (status, True), found[1]


DATA: dict[str, tuple[Callable[[], Arrays] | bytes | None, int, str]] = {
    "missing": (None, 74, "No such file"),
    "empty-file": (b"", 65, "is no readable .npz"),
    "text": (b"hello", 65, "is no readable .npz"),
    "no-samples": (lambda: {"x": IMAGES[:0], "y": LABELS[:0]}, 2, "0 samples"),
    "no-x": (lambda: {"z": IMAGES}, 65, "has no array 'x'"),
    "one-number": (lambda: {"x": np.array(1.0)}, 65, "'x' is one number"),
    "nan": (lambda: {"x": np.full((3, 8, 8, 3), np.nan), "y": LABELS[:3]}, 65, "x[0]: holds NaN"),
    "wrong-shape": (lambda: {"x": IMAGES[..., :2], "y": LABELS}, 70, "the shape [2, 8, 8]"),
    "pickled": (
        lambda: {"x": np.array([{}, 1], dtype=object), "y": LABELS[:2]}, 65, "allow_pickle=False"
    ),
    "label-out-of-range": (lambda: {"x": IMAGES, "y": LABELS + 7}, 65, "y[0]: '7'"),
    "label-negative": (lambda: {"x": IMAGES, "y": LABELS - 9}, 65, "y[0]: '-9'"),
    "label-a-fraction": (lambda: {"x": IMAGES, "y": LABELS + 0.5}, 65, "y[0]: '0.5'"),
    "labels-too-few": (lambda: {"x": IMAGES, "y": LABELS[:5]}, 65, "expected (12,)"),
}  # fmt: skip


def _write(path: Path, content: Callable[[], Arrays] | bytes | None) -> None:
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content())  # type: ignore[arg-type]  # its last parameter is a flag


@pytest.mark.parametrize("role", ["calibration", "evaluation"])
@pytest.mark.parametrize("kind", DATA)
def test_data_that_cannot_be_used(desk: Path, role: str, kind: str) -> None:
    content, status, words = DATA[kind]
    _write(desk / f"{role}.npz", content)

    found = refused(desk)

    assert (found[0], words in found[1]) == (status, True), found[1]


@pytest.mark.parametrize("kind", ["missing", "nan", "no-samples", "label-out-of-range"])
def test_evaluate_refuses_such_data(desk: Path, kind: str) -> None:
    content, status, words = DATA[kind]
    _write(desk / "evaluation.npz", content)

    found = edgeops(
        *["evaluate", "model.onnx", "--recipe", "recipe.yaml", "--data", "evaluation.npz"],
        cwd=desk,
    ).refusal()

    assert (found[0], words in found[1]) == (status, True), found[1]


def test_a_csv_with_text_or_nan_is_refused(desk: Path) -> None:
    for text in ("a,b\nx,1\n", "a,b\n1,nan\n"):
        (desk / "data.csv").write_text(text)
        assert refused(desk, "--calibration", "data.csv")[0] == 65


def test_a_list_of_labels_that_points_outside_its_folder_is_refused(desk: Path) -> None:
    pictures = desk / "pictures"
    pictures.mkdir()
    (pictures / "labels.csv").write_text("file,label\n../../etc/passwd,red\n")

    assert refused(desk, "--calibration", "pictures")[0] == 65


def test_weights_outside_the_models_folder_are_refused(desk: Path) -> None:
    model = onnx.load(desk / "model.onnx")
    (desk / "secret.bin").write_bytes(bytes(4096))
    weight = model.graph.initializer[0]
    size = len(weight.raw_data) or 4
    weight.ClearField("raw_data")
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../secret.bin"), ("offset", "0"), ("length", str(size))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    inner = desk / "inner"
    inner.mkdir()
    (inner / "model.onnx").write_bytes(model.SerializeToString())

    found = refused(desk, "inner/model.onnx")
    timed = edgeops("benchmark", "inner/model.onnx", "--seconds", "0.1", cwd=desk).refusal()

    assert found[0] == 70
    assert timed[0] == 70


@pytest.mark.parametrize(
    ("content", "status"), [(None, 74), ("not a key", 65)], ids=["missing", "no-key"]
)
def test_without_a_key_that_is_one_nothing_is_converted(
    desk: Path, content: str | None, status: int
) -> None:
    if content is not None:
        (desk / "my.key").write_text(content)

    assert refused(desk, key="my.key")[0] == status


def test_a_full_or_foreign_target_is_refused(desk: Path) -> None:
    found = edgeops(
        *["convert", "--recipe", "recipe.yaml", "--out", "/proc/out", "--key", "release.key"],
        cwd=desk,
    ).refusal()

    assert found[0] == 74
