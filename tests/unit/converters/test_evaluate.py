"""Two models on the same samples, as ``edgeops evaluate --against`` compares them."""

import json
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Array
from converters.assessment import assess, compare
from converters.evaluation import Answers
from converters.exam import npz_bytes
from converters.metrics import Truth
from edgeops import cli
from edgeops.contracts.manifest import Task
from edgeops.contracts.result import Box, Detection, Result
from edgeops.errors import UsageError
from tests.unit.converters.nets import net, node

RECIPE = """
model: bright.onnx
name: bright
version: 1.0.0
task: {type: classification, labels: [dark, bright]}
"""


def threshold_model(threshold: float) -> bytes:
    """Return a model that calls a number above ``threshold`` bright."""
    constants: dict[str, Array] = {
        "w": np.asarray([[-1.0, 1.0]], np.float32),
        "b": np.asarray([threshold, -threshold], np.float32),
    }
    nodes = [node("Gemm", "x w b", "z"), node("Softmax", "z", "y")]
    return net(nodes, inputs={"x": ["N", 1]}, outputs={"y": ["N", 2]}, constants=constants)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return two models and data of which one site is only right with the first."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "bright.onnx").write_bytes(threshold_model(0.0))
    (tmp_path / "shifted.onnx").write_bytes(threshold_model(0.5))
    values = np.linspace(-2, 2, 200, dtype=np.float32)
    dim = np.linspace(0.01, 0.45, 40, dtype=np.float32)
    x = np.concatenate([values, dim])[:, None]
    site = np.asarray(["day"] * 200 + ["dusk"] * 40)
    data: dict[str, Array] = {"x": x, "y": (x[:, 0] > 0).astype(np.int64), "site": site}
    (tmp_path / "data.npz").write_bytes(npz_bytes(data))
    (tmp_path / "bare.npz").write_bytes(npz_bytes({"x": x}))
    return tmp_path


def evaluate(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    recipe = ("--recipe", str(folder / "recipe.yaml"))
    status = cli.main(["evaluate", str(folder / "shifted.onnx"), *recipe, *words])
    output = capsys.readouterr()
    return status, output.out, output.err


def test_comparison_says_what_was_lost_where(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = evaluate(
        capsys, folder, "--data", str(folder / "data.npz"), "--slices", "site",
        "--against", str(folder / "bright.onnx"), "--json",
    )  # fmt: skip

    assert status == 0, err
    record = json.loads(out)
    against = record["against"]
    assert against["metrics"]["top1"] == 1.0
    assert against["drop"] == pytest.approx(1 - record["metrics"]["top1"])
    low, high = against["drop_interval"]
    assert 0 < low < against["drop"] < high
    assert against["changed"] == pytest.approx(against["drop"])
    assert {(row["column"], row["value"]) for row in against["hurt"]} >= {("site", "dusk")}
    assert record["slices"]["site"]["dusk"]["top1"] == 0.0
    assert record["confusion"]["labels"] == ["dark", "bright"]
    assert sum(sum(row) for row in record["confusion"]["counts"]) == 240
    row = record["per_class"]["bright"]
    assert row["recall_low"] < row["recall"] < row["recall_high"]


def test_words_name_the_loss_and_the_slice(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", str(folder / "data.npz"), "--slices", "site")

    status, out, err = evaluate(capsys, folder, *words, "--against", str(folder / "bright.onnx"))

    assert status == 0, err
    assert "240 samples, onnx (shifted.onnx)" in out
    assert "against onnx (bright.onnx): top1 drops by +" in out
    assert "hurts site=dusk more than the rest" in out
    assert "truth \\ answer\tdark\tbright" in out


def test_without_labels_two_models_can_agree(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", str(folder / "bare.npz"), "--json")

    status, _, err = evaluate(capsys, folder, *words)
    assert status == 2
    assert "no labels" in err

    status, out, _ = evaluate(capsys, folder, *words, "--against", str(folder / "bright.onnx"))
    assert status == 0
    record = json.loads(out)
    assert record["metric"] == "agreement"
    assert record["metrics"]["agreement"] == pytest.approx(1 - record["against"]["drop"])


def test_column_that_is_not_there_is_a_usage_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = evaluate(
        capsys, folder, "--data", str(folder / "data.npz"), "--slices", "colour"
    )

    assert status == 2
    assert "no column 'colour'; it has ['site']" in err


def given(results: list[Result], truths: list[Truth], **columns: list[str]) -> Answers:
    rows = [{name: values[i] for name, values in columns.items()} for i in range(len(results))]
    return Answers(results=tuple(results), truths=tuple(truths), slices=tuple(rows))


def test_a_column_of_numbers_without_end_is_no_slice() -> None:
    results = [Result(task="classification", label="a", score=1.0)] * 150
    answers = given(results, [Truth(label="a")] * 150, serial=[str(i) for i in range(150)])

    with pytest.raises(UsageError, match="150 different values"):
        assess(Task(type="classification", labels=("a", "b")), "top1", answers, None, ["serial"])


def test_a_slice_in_which_the_metric_is_undefined_has_no_figure() -> None:
    results = [Result(task="anomaly", score=float(score)) for score in range(4)]
    truths = [Truth(label=text) for text in ("normal", "normal", "anomaly", "anomaly")]
    answers = given(results, truths, site=["x", "x", "x", "y"])

    found = assess(Task(type="anomaly", score="mse"), "auc", answers, None, ["site"])

    assert [(group.value, bool(group.figures)) for group in found.slices] == [
        ("x", True),
        ("y", False),
    ]
    assert {"auc", "average_precision"} <= set(found.figures)


def test_data_of_one_class_are_judged_without_inventing_another() -> None:
    """A class that is only answered has no samples, so there is no share of them to find."""
    task = Task(type="classification", labels=("dark", "bright"))
    said = [Result(task="classification", label=label) for label in ("dark", "dark", "bright")]
    truths = [Truth(label="dark")] * 3

    found = assess(task, "top1", given(said, truths), None)
    right = assess(task, "top1", given(said[:1], truths[:1]), None)

    assert [(group.value, group.samples) for group in found.classes] == [("dark", 3)]
    assert found.confusion is not None
    assert found.confusion.counts == ((2, 1), (0, 0))
    assert right.confusion is not None
    assert right.confusion.counts == ((1,),)


def test_a_detectors_classes_show_recall_and_precision() -> None:
    box: Box = (0.1, 0.1, 0.4, 0.4)
    objects = (Detection(label="cat", score=0.9, box=box),)
    results = [Result(task="detection", objects=objects), Result(task="detection")]
    truths = [Truth(objects=objects), Truth(objects=objects)]
    task = Task(type="detection", labels=("cat",), decoder="yolox")

    found = assess(task, "map50", given(results, truths), results)
    same = compare("map50", given(results, truths), given(results, truths))

    (cat,) = found.classes
    assert (cat.value, cat.samples) == ("cat", 2)
    assert cat.figures["recall"].value == 0.5
    assert cat.figures["average_precision"].value == 0.5
    assert same.drop.value == 0.0
    assert same.changed is None


def test_growth_of_an_error_is_compared_pair_by_pair() -> None:
    random = np.random.default_rng(2)
    truth = random.normal(size=80)
    truths = [Truth(label=f"{value:.6f}") for value in truth]
    near = [Result(task="regression", score=float(v)) for v in truth + random.normal(0, 0.1, 80)]
    far = [Result(task="regression", score=r.score + 0.1) for r in near]

    found = compare("mse", given(near, truths), given(far, truths))

    assert found.drop.value > 0.5
    assert found.drop.low is not None
    assert found.drop.low > 0.1
