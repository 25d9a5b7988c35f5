"""Figures of merit, from answers and truth alone.

All but ``mse`` lie in 0-1 and more is better; ``mse`` is an error, less is better. scikit-learn
computes what it knows and is imported only when such a figure is wanted; boxes are matched by
``converters.detections``.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from converters.detections import matches, scored_hits
from edgeops.contracts.manifest import Task
from edgeops.contracts.result import Detection, Result
from edgeops.errors import UsageError

Metric = Literal["top1", "auc", "f1", "agreement", "map50", "mse"]
"""What a budget can be held in."""

Measure = Literal[
    "top1",
    "auc",
    "f1",
    "agreement",
    "map50",
    "mse",
    "precision",
    "recall",
    "average_precision",
    "rank",
]
"""What a figure can be of."""

SMALLEST_ERROR: Final = 1e-9
"""Floor of the float original's ``mse`` when a loss is related to it."""

_TWO_CLASSES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known about a sample.

    Attributes:
        label: Class name; for anomaly ``normal`` or ``anomaly``; for regression the number.
        objects: Labelled boxes, as shares of the image; scores are 1.
    """

    label: str = ""
    objects: tuple[Detection, ...] = ()


def measure(  # noqa: PLR0911 - one for each figure
    metric: Measure,
    results: Sequence[Result],
    truths: Sequence[Truth],
    reference: Sequence[Result],
) -> float:
    """Return one figure.

    Args:
        metric: Which.
        results: The model's answers.
        truths: One per answer; unused by ``agreement`` and ``rank``.
        reference: The float original's answers; used by ``agreement`` and ``rank`` alone.

    Raises:
        UsageError: The metric does not fit the task or the data.
    """
    match metric:
        case "top1":
            return top1(results, truths)
        case "auc":
            return auc(results, truths)
        case "f1" | "precision" | "recall":
            return macro(metric, results, truths)
        case "average_precision":
            return average_precision(results, truths)
        case "agreement":
            return agreement(results, reference)
        case "rank":
            return rank(results, reference)
        case "map50":
            return mean_average_precision(results, truths)
        case "mse":
            return mse(results, truths)


def default_metric(task: Task, *, labelled: bool) -> Metric:
    """Return the metric for a task that names none."""
    if not labelled or task.type == "segmentation":
        return "agreement"
    if task.type == "regression":
        return "mse"
    if task.type == "detection":
        return "map50"
    return "auc" if task.type == "anomaly" else "top1"


def loss(metric: str, before: float, after: float) -> float:
    """Return what a budget is held against: how much worse ``after`` is than ``before``.

    Figures of 0-1 lose by their plain difference: 0.90 to 0.88 loses 0.02. An error has no
    ceiling, so ``mse`` loses by its relative growth: 4.0 to 4.2 loses 0.05. Negative: gained.
    """
    return float(losses(metric, np.asarray(before), np.asarray(after)))


def losses(
    metric: str, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return ``loss`` element by element."""
    if metric != "mse":
        return before - after
    return (after - before) / np.maximum(before, SMALLEST_ERROR)


def top1(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the share of answers whose label is the true one."""
    _require_labels(truths)
    hits = sum(r.label == t.label for r, t in zip(results, truths, strict=True))
    return hits / len(results)


def auc(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the area under the ROC curve: the chance that a positive outscores a negative.

    Anomaly scores are used as they are; of two classes, the later one in the alphabet is the
    positive one. Ties count one half.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - heavy

    positive, scores = two_sided(results, truths)
    return float(roc_auc_score(positive, scores))


def average_precision(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return precision averaged over the recalls of the positive class; see ``auc``."""
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - heavy

    positive, scores = two_sided(results, truths)
    return float(average_precision_score(positive, scores))


def two_sided(
    results: Sequence[Result], truths: Sequence[Truth]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return which samples are positive, and every sample's score for being so.

    Raises:
        UsageError: The data have not exactly two kinds of samples.
    """
    _require_labels(truths)
    label = _positive_label(truths)
    positive = np.asarray([truth.label == label for truth in truths])
    if positive.all() or not positive.any():
        raise UsageError("auc needs samples of both kinds")
    return positive, _scores_for(label, results)


def _positive_label(truths: Sequence[Truth]) -> str:
    labels = {truth.label for truth in truths}
    if labels <= {"normal", "anomaly"}:
        return "anomaly"
    if len(labels) != _TWO_CLASSES:
        raise UsageError(f"auc needs two classes, the data has {len(labels)}")
    return max(labels)


def _scores_for(label: str, results: Sequence[Result]) -> npt.NDArray[np.float64]:
    """Return every sample's score for ``label``, or its only score where there are no classes.

    Raises:
        UsageError: The model knows more than two classes.
    """
    classes = max(len(result.scores) for result in results)
    if classes <= 1:
        return _scores(results)
    if classes != _TWO_CLASSES:
        raise UsageError(f"auc needs a model of two classes, this one has {classes}")
    scores = np.asarray([result.scores for result in results], np.float64)
    # Results do not name the classes, but each says the score of the one that it answers.
    clear = [result for result in results if result.scores[0] != result.scores[1]]
    if not clear:
        return scores[:, 1]
    answered = int(np.argmin(np.abs(np.asarray(clear[0].scores) - clear[0].score)))
    return scores[:, answered if clear[0].label == label else 1 - answered]


def macro(
    which: Literal["precision", "recall", "f1"],
    results: Sequence[Result],
    truths: Sequence[Truth],
) -> float:
    """Return the plain mean of a per-class figure over the classes that the truth holds."""
    _require_labels(truths)
    figures = per_class(results, truths)
    return float(np.mean([figures[label][which] for label in sorted({t.label for t in truths})]))


def f1(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the mean over the true classes of precision and recall's harmonic mean."""
    return macro("f1", results, truths)


def per_class(results: Sequence[Result], truths: Sequence[Truth]) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and number of samples by label; 0 where undefined."""
    from sklearn.metrics import precision_recall_fscore_support  # noqa: PLC0415 - heavy

    said, true = [r.label for r in results], [t.label for t in truths]
    labels = sorted({name for name in (*said, *true) if name})
    if not labels:
        return {}
    precision, recall, harmonic, support = precision_recall_fscore_support(
        true, said, labels=labels, average=None, zero_division=0
    )
    return {
        label: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(harmonic[index]),
            "samples": float(support[index]),
        }
        for index, label in enumerate(labels)
    }


def confusion(
    results: Sequence[Result], truths: Sequence[Truth], labels: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """Return how often each true label (row) was answered by each label (column)."""
    counts = Counter(
        (truth.label, result.label) for truth, result in zip(truths, results, strict=True)
    )
    return tuple(tuple(counts[row, column] for column in labels) for row in labels)


def agreement(results: Sequence[Result], reference: Sequence[Result]) -> float:
    """Return how far the answers are those of the float original.

    Classes: share of equal labels. Objects: F1 of boxes matched at IoU 0.5. Scores
    (anomaly, regression): 1 minus the mean difference, relative to the mean score.
    """
    _require_reference(reference)
    kind = reference[0].task
    if kind == "detection":
        return _box_agreement(results, reference)
    if kind in {"anomaly", "regression"}:
        have, want = _scores(results), _scores(reference)
        scale = float(np.abs(want).mean())
        return max(0.0, 1.0 - float(np.abs(have - want).mean()) / max(scale, 1e-12))
    pairs = zip(results, reference, strict=True)
    return sum(a.label == b.label for a, b in pairs) / len(reference)


def rank(results: Sequence[Result], reference: Sequence[Result]) -> float:
    """Return Spearman's correlation of the scores with the float original's, -1 to 1.

    Equal for all thresholds and scales: it tells whether the order of samples survived. 0
    where either has one and the same score for every sample.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - heavy; scikit-learn brings it

    _require_reference(reference)
    have, want = rankdata(_scores(results)), rankdata(_scores(reference))
    spread = float(have.std() * want.std())
    if spread == 0:
        return 0.0
    return float(((have - have.mean()) * (want - want.mean())).mean() / spread)


def _scores(results: Sequence[Result]) -> npt.NDArray[np.float64]:
    return np.asarray([result.score for result in results], np.float64)


def _box_agreement(results: Sequence[Result], reference: Sequence[Result]) -> float:
    hits = said = true = 0
    for have, want in zip(results, reference, strict=True):
        hits += sum(matches(have.objects, want.objects))
        said += len(have.objects)
        true += len(want.objects)
    return 2 * hits / (said + true) if said + true else 1.0


def mean_average_precision(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the mean over classes of the area under precision against recall at IoU 0.5."""
    found = class_precisions(results, truths)
    if not found:
        raise UsageError("map50 needs data with labelled boxes")
    return float(np.mean(list(found.values())))


def class_precisions(results: Sequence[Result], truths: Sequence[Truth]) -> dict[str, float]:
    """Return the average precision at IoU 0.5 of each class that the truth holds."""
    wanted = [truth.objects for truth in truths]
    once = np.ones((1, len(truths)))
    return {
        label: float(scored_hits(label, results, wanted).average_precision(once)[0])
        for label in sorted({item.label for truth in truths for item in truth.objects})
    }


def mse(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the mean squared difference of predicted and true number (regression)."""
    from sklearn.metrics import mean_squared_error  # noqa: PLC0415 - heavy

    return float(mean_squared_error(numbers(truths), _scores(results)))


def numbers(truths: Sequence[Truth]) -> npt.NDArray[np.float64]:
    """Return the true number of every sample.

    Raises:
        UsageError: A sample has none.
    """
    _require_labels(truths)
    found: list[float] = []
    for truth in truths:
        try:
            value = float(truth.label)
        except ValueError:
            raise UsageError(f"mse needs numbers as labels, {truth.label!r} is none") from None
        if not math.isfinite(value):
            raise UsageError(f"mse needs finite numbers as labels, found {truth.label}")
        found.append(value)
    return np.asarray(found, np.float64)


def _require_labels(truths: Sequence[Truth]) -> None:
    if not truths or not all(truth.label for truth in truths):
        raise UsageError("this metric needs a label for every sample of the evaluation data")


def _require_reference(reference: Sequence[Result]) -> None:
    if not reference:
        raise UsageError("agreement needs the answers of the float model")


def summary(values: Mapping[str, float]) -> dict[str, float]:
    """Return figures rounded for documents: six digits outlast any evaluation set."""
    return {name: round(value, 6) for name, value in sorted(values.items())}
