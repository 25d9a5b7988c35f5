"""Figures against scikit-learn and hand-counted cases; their weighted forms against both."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn import metrics as sk

from converters.detections import found_objects, pairs, scored_hits
from converters.metrics import (
    Measure,
    Truth,
    average_precision,
    confusion,
    default_metric,
    loss,
    mean_average_precision,
    measure,
    mse,
    rank,
)
from converters.resampling import estimator
from edgeops.contracts.manifest import Task
from edgeops.contracts.result import Box, Detection, Result
from edgeops.errors import UsageError

LABELS = ("a", "b", "c")


def answers(seed: int, count: int = 60) -> tuple[list[Result], list[Truth]]:
    """Return answers of a model that is right two times out of three."""
    random = np.random.default_rng(seed)
    truths = [LABELS[index % 3] for index in range(count)]
    results = []
    for truth in truths:
        label = truth if random.random() < 0.67 else LABELS[int(random.integers(3))]
        results.append(Result(task="classification", label=label, score=0.9))
    return results, [Truth(label=label) for label in truths]


def two_sided(seed: int, count: int = 50) -> tuple[list[Result], list[Truth]]:
    """Return anomaly scores with many ties."""
    random = np.random.default_rng(seed)
    truths = [Truth(label="anomaly" if i % 3 == 0 else "normal") for i in range(count)]
    scores = [round(float(random.normal(t.label == "anomaly", 1.0)), 1) for t in truths]
    return [Result(task="anomaly", score=score) for score in scores], truths


def boxed(*items: tuple[str, float, Box]) -> Result:
    objects = tuple(Detection(label=label, score=score, box=box) for label, score, box in items)
    return Result(task="detection", objects=tuple(sorted(objects, key=lambda o: -o.score)))


def wanted(*items: tuple[str, Box]) -> Truth:
    return Truth(objects=tuple(Detection(label=name, score=1.0, box=box) for name, box in items))


A: Box = (0.0, 0.0, 0.2, 0.2)
B: Box = (0.4, 0.4, 0.6, 0.6)
C: Box = (0.8, 0.8, 1.0, 1.0)


def test_figures_are_scikit_learns() -> None:
    results, truths = answers(1)
    said, true = [r.label for r in results], [t.label for t in truths]

    for name, expected in (
        ("top1", sk.accuracy_score(true, said)),
        ("f1", sk.f1_score(true, said, average="macro")),
        ("precision", sk.precision_score(true, said, average="macro")),
        ("recall", sk.recall_score(true, said, average="macro")),
    ):
        metric: Measure = name  # type: ignore[assignment]  # one of the literals above
        assert measure(metric, results, truths, ()) == pytest.approx(expected), name
    assert confusion(results, truths, LABELS) == tuple(
        tuple(row) for row in sk.confusion_matrix(true, said, labels=LABELS).tolist()
    )


def test_mean_average_precision_is_the_hand_computed_area() -> None:
    """Five boxes of one class on two images: hit, miss, hit, hit of a hit one, miss of four.

    By score: hit (1/1), miss (1/2), hit (2/3), a second box on a met object: miss (2/4), hit
    (3/5). Envelope at the hits: 1, 2/3, 3/5; four labelled boxes: (1 + 2/3 + 3/5) / 4.
    """
    results = [
        boxed(("cat", 0.9, A), ("cat", 0.8, C), ("cat", 0.6, A)),
        boxed(("cat", 0.7, A), ("cat", 0.5, B)),
    ]
    truths = [wanted(("cat", A), ("cat", B)), wanted(("cat", A), ("cat", B))]

    assert mean_average_precision(results, truths) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_mean_average_precision_is_the_mean_over_classes_of_the_truth() -> None:
    results = [boxed(("cat", 0.9, A), ("dog", 0.8, B), ("cow", 0.7, C))]
    truths = [wanted(("cat", A), ("dog", C))]

    assert mean_average_precision(results, truths) == 0.5


def test_objects_are_met_once_and_only_by_their_label() -> None:
    found = [Detection(label="cat", score=s, box=A) for s in (0.9, 0.8)]
    truth = wanted(("dog", A), ("cat", A)).objects

    assert pairs(found, truth) == [1, None]
    assert found_objects([boxed(("cat", 0.9, A))], [truth]) == [(0, "dog", False), (0, "cat", True)]


def test_error_is_lost_relatively_and_shares_by_difference() -> None:
    truths = [Truth(label=text) for text in ("1", "2.5", "-3")]
    results = [Result(task="regression", score=score) for score in (1.0, 2.0, -1.0)]

    assert mse(results, truths) == pytest.approx((0.25 + 4.0) / 3)
    assert loss("mse", 4.0, 4.2) == pytest.approx(0.05)
    assert loss("mse", 4.0, 3.0) == pytest.approx(-0.25)
    assert loss("top1", 0.9, 0.88) == pytest.approx(0.02)
    assert default_metric(Task(type="regression"), labelled=True) == "mse"
    with pytest.raises(UsageError, match="'red' is none"):
        mse(results, [Truth(label="red")] * 3)


def test_rank_survives_a_change_of_scale_only() -> None:
    reference = [Result(task="anomaly", score=score) for score in (1.0, 2.0, 3.0, 9.0)]
    stretched = [Result(task="anomaly", score=score**2) for score in (1.0, 2.0, 3.0, 9.0)]

    assert rank(stretched, reference) == pytest.approx(1.0)
    assert rank(list(reversed(reference)), reference) == pytest.approx(-1.0)
    assert rank([Result(task="anomaly", score=1.0)] * 4, reference) == 0.0


def weighted(
    metric: Measure, results: Sequence[Result], truths: Sequence[Truth], counts: list[int]
) -> tuple[float, float]:
    """Return a figure by weights, and of the samples repeated as often as they weigh."""
    estimate = estimator(metric, results, truths, results)
    assert estimate is not None
    rows = estimate(np.asarray([[1.0] * len(results), counts], np.float64))
    repeated = [index for index, count in enumerate(counts) for _ in range(count)]
    plain = measure(metric, results, truths, results)
    assert rows[0] == pytest.approx(plain), metric
    return float(rows[1]), measure(
        metric,
        [results[index] for index in repeated],
        [truths[index] for index in repeated],
        [results[index] for index in repeated],
    )


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_repetitions(seed: int) -> None:
    random = np.random.default_rng(seed)
    results, truths = answers(seed)
    counts = random.integers(0, 4, len(results)).tolist()
    metrics: tuple[Measure, ...] = ("top1", "f1", "precision", "recall", "agreement")
    for metric in metrics:
        have, want = weighted(metric, results, truths, counts)
        assert have == pytest.approx(want), metric

    scored, kinds = two_sided(seed)
    counts = random.integers(0, 4, len(scored)).tolist()
    assert average_precision(scored, kinds) > 0.3
    areas: tuple[Measure, ...] = ("auc", "average_precision", "agreement")
    for metric in areas:
        have, want = weighted(metric, scored, kinds, counts)
        assert have == pytest.approx(want), metric


def test_images_weigh_like_repetitions_where_scores_differ() -> None:
    """A repeated image's boxes tie with themselves; a weight of zero leaves an image out."""
    results = [boxed(("cat", 0.9, A)), boxed(("cat", 0.8, C)), boxed(("cat", 0.7, B))]
    objects = [wanted(("cat", A)).objects, wanted(("cat", A)).objects, wanted(("cat", B)).objects]

    rows = scored_hits("cat", results, objects).average_precision(
        np.asarray([[1, 1, 1], [1, 0, 1], [0, 2, 0], [2, 0, 0]], np.float64)
    )

    assert rows.tolist() == pytest.approx([(1 + 2 / 3) / 3, 1.0, 0.0, 1.0])
