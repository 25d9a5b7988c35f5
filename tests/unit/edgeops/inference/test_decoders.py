"""Scores, labels and anomaly scores from outputs that are known."""

import numpy as np
import pytest

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.contracts.result import Result
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.packing import Prepared
from edgeops.inference.postprocess.decoder import decoder_for


def floats(*values: float) -> Floats:
    return np.array([values], dtype=np.float32)


def spec(array: Floats) -> tuple[TensorSpec, ...]:
    return (TensorSpec(name="y", shape=array.shape, dtype="float32"),)


def decode(task: Task, *windows: Floats, features: tuple[Floats, ...] = ()) -> Result:
    inputs = spec(features[0]) if features else spec(windows[0])
    decoder = decoder_for(task, inputs, spec(windows[0]))
    return decoder(Prepared((), features), [[window] for window in windows])


def test_softmax_turns_logits_into_probabilities() -> None:
    task = Task(type="classification", labels=("a", "b", "c"), activation="softmax")

    result = decode(task, floats(1000.0, 1000.0 + np.log(2), 1000.0))

    assert result.label == "b"
    assert result.scores == pytest.approx((0.25, 0.5, 0.25), abs=1e-4)
    assert result.score == result.scores[1]


def test_sigmoid_stands_any_logit() -> None:
    task = Task(type="classification", labels=("a", "b", "c"), activation="sigmoid")

    assert decode(task, floats(-1e30, 0.0, 1e30)).scores == pytest.approx((0.0, 0.5, 1.0))


@pytest.mark.parametrize(("threshold", "label"), [(None, "ok"), (0.3, "defect"), (0.5, "ok")])
def test_one_output_and_two_labels_is_the_second_s_probability(
    threshold: float | None, label: str
) -> None:
    task = Task(type="classification", labels=("ok", "defect"), threshold=threshold)

    result = decode(task, floats(0.4))

    assert result.label == label
    assert result.scores == pytest.approx((0.6, 0.4))


def test_windows_of_one_clip_are_averaged() -> None:
    task = Task(type="keyword", labels=("yes", "no"))

    result = decode(task, floats(0.9, 0.1), floats(0.2, 0.8), floats(0.7, 0.3))

    assert result.label == "yes"
    assert result.scores == pytest.approx((0.6, 0.4))


def test_labels_must_be_as_many_as_outputs() -> None:
    task = Task(type="classification", labels=("a", "b"))

    with pytest.raises(InferenceError, match=r"has 3 classes.*2 labels"):
        decode(task, floats(1, 2, 3))


@pytest.mark.parametrize(
    ("score", "aggregate", "expected"),
    [("mse", "mean", 2.5), ("mse", "max", 4.0), ("mae", "mean", 1.5), ("mae", "max", 2.0)],
)
def test_anomaly_scores_are_distances_from_the_input(
    score: str, aggregate: str, expected: float
) -> None:
    task = Task(
        type="anomaly",
        score="mse" if score == "mse" else "mae",
        aggregate="max" if aggregate == "max" else "mean",
        threshold=expected,
    )

    result = decode(task, floats(1, 1), floats(5, 1), features=(floats(0, 2), floats(3, 3)))

    assert result.score == pytest.approx(expected)
    assert result.label == "anomaly"  # from the threshold on


def test_a_model_may_give_the_anomaly_score_itself() -> None:
    task = Task(type="anomaly", score="output", threshold=3.0)

    assert decode(task, floats(1.0), floats(2.0)) == Result(
        task="anomaly", label="normal", score=1.5
    )


def test_no_threshold_gives_no_label() -> None:
    assert decode(Task(type="anomaly", score="output"), floats(9.0)).label == ""


def test_a_reconstruction_has_the_input_s_shape() -> None:
    with pytest.raises(InferenceError, match=r"\[1, 2\].*\[1, 3\]"):
        decode(Task(type="anomaly", score="mse"), floats(1, 2), features=(floats(1, 2, 3),))


def test_regression_gives_its_numbers() -> None:
    result = decode(Task(type="regression"), floats(1, 10), floats(3, 20))

    assert result.score == 2.0
    assert result.scores == (2.0, 15.0)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2)], ids=["nhwc", "nchw"])
def test_segmentation_gives_shares_of_the_area(axes: tuple[int, ...]) -> None:
    scores = np.zeros((1, 4, 5, 2), dtype=np.float32)
    scores[..., 0] = 0.5
    scores[0, 1, :, 1] = 0.9
    task = Task(type="segmentation", labels=("floor", "spill"))

    result = decode(task, np.ascontiguousarray(scores.transpose(axes)))

    assert result.label == "floor"
    assert result.scores == (0.75, 0.25)
