"""Metrics against hand-counted cases, and the ladder against made-up drops."""

import pytest

from converters.detections import overlap
from converters.metrics import (
    Truth,
    agreement,
    auc,
    f1,
    mean_average_precision,
    measure,
    per_class,
    top1,
)
from edgeops.contracts.result import Box, Detection, Result
from edgeops.errors import UsageError


def said(*labels: str) -> list[Result]:
    return [Result(task="classification", label=label, score=1.0) for label in labels]


def true(*labels: str) -> list[Truth]:
    return [Truth(label=label) for label in labels]


def scored(*scores: float) -> list[Result]:
    return [Result(task="anomaly", score=score) for score in scores]


def boxes(*items: tuple[float, Box]) -> Result:
    objects = tuple(Detection(label="cat", score=score, box=box) for score, box in items)
    return Result(task="detection", objects=objects)


LEFT: Box = (0.0, 0.0, 0.5, 1.0)
RIGHT: Box = (0.5, 0.0, 1.0, 1.0)


def test_top1_and_f1_count() -> None:
    results, truths = said("a", "a", "b", "b"), true("a", "b", "b", "b")

    assert top1(results, truths) == 0.75
    assert per_class(results, truths)["a"] == {
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "samples": 1.0,
    }
    assert f1(results, truths) == pytest.approx((2 / 3 + 0.8) / 2)


def test_auc_is_the_chance_that_an_anomaly_scores_higher() -> None:
    truths = true("normal", "anomaly", "normal", "anomaly")

    assert auc(scored(1, 2, 3, 4), truths) == 0.75
    assert auc(scored(1, 3, 2, 4), truths) == 1.0
    assert auc(scored(5, 5, 5, 5), truths) == 0.5


def test_auc_takes_the_second_of_two_classes() -> None:
    results = [
        Result(task="classification", label="no", score=s, scores=(s, 1 - s)) for s in (0.9, 0.2)
    ]

    assert auc(results, true("no", "yes")) == 1.0


@pytest.mark.parametrize("labels", [("good", "defect"), ("defect", "good")])
@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.05])
def test_auc_does_not_depend_on_the_order_of_the_classes(
    labels: tuple[str, str], threshold: float
) -> None:
    first, second = labels
    results = [
        Result(
            task="classification",
            label=second if score >= threshold else first,
            score=score if score >= threshold else 1 - score,
            scores=(1 - score, score),
        )
        for score in (0.1, 0.3, 0.25, 0.9)
    ]

    assert auc(results, true(first, first, second, second)) == 0.75


def test_auc_of_more_than_two_classes_is_refused_though_the_data_hold_two() -> None:
    results = [Result(task="keyword", label="a", score=0.5, scores=(0.5, 0.3, 0.2))] * 2

    with pytest.raises(UsageError, match="two classes"):
        auc(results, true("a", "b"))


def test_agreement_needs_no_labels() -> None:
    assert agreement(said("a", "b"), said("a", "a")) == 0.5
    assert agreement(scored(1.0, 3.0), scored(1.0, 2.0)) == pytest.approx(1 - 0.5 / 1.5)
    assert agreement([boxes((0.9, LEFT))], [boxes((0.8, LEFT), (0.7, RIGHT))]) == pytest.approx(
        2 / 3
    )


def test_average_precision_counts_each_object_once() -> None:
    truth = Truth(objects=(Detection(label="cat", score=1.0, box=LEFT),))

    once = mean_average_precision([boxes((0.9, LEFT))], [truth])
    twice = mean_average_precision([boxes((0.9, LEFT), (0.8, LEFT))], [truth])
    late = mean_average_precision([boxes((0.9, RIGHT), (0.8, LEFT))], [truth])

    assert (once, twice, late) == (1.0, 1.0, 0.5)
    assert overlap(LEFT, RIGHT) == 0.0


def test_metrics_without_what_they_need_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="label for every sample"):
        measure("top1", said("a"), [Truth()], ())
    with pytest.raises(UsageError, match="float model"):
        measure("agreement", said("a"), [Truth()], ())
    with pytest.raises(UsageError, match="two classes"):
        measure("auc", said("a", "b", "c"), true("a", "b", "c"), ())
    with pytest.raises(UsageError, match="labelled boxes"):
        measure("map50", [boxes()], [Truth()], ())
