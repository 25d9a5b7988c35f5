"""Figures of merit, from answers and truth alone; every figure is in 0-1, more is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from edgeops.contracts.manifest import Task
from edgeops.contracts.result import Box, Detection, Result
from edgeops.errors import UsageError

Metric = Literal["top1", "auc", "f1", "agreement", "map50"]

MATCH_IOU: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known about a sample.

    Attributes:
        label: Class name; for anomaly ``normal`` or ``anomaly``.
        objects: Labelled boxes, as shares of the image; scores are 1.
    """

    label: str = ""
    objects: tuple[Detection, ...] = ()


def measure(
    metric: Metric,
    results: Sequence[Result],
    truths: Sequence[Truth],
    reference: Sequence[Result],
) -> float:
    """Return one figure.

    Args:
        metric: Which.
        results: The model's answers.
        truths: One per answer; unused by ``agreement``.
        reference: The float original's answers; used by ``agreement`` alone.

    Raises:
        UsageError: The metric does not fit the task or the data.
    """
    match metric:
        case "top1":
            return top1(results, truths)
        case "auc":
            return auc(results, truths)
        case "f1":
            return f1(results, truths)
        case "agreement":
            return agreement(results, reference)
        case "map50":
            return mean_average_precision(results, truths)


def default_metric(task: Task, *, labelled: bool) -> Metric:
    """Return the metric for a task that names none."""
    if not labelled or task.type in {"regression", "segmentation"}:
        return "agreement"
    if task.type == "detection":
        return "map50"
    return "auc" if task.type == "anomaly" else "top1"


def top1(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the share of answers whose label is the true one."""
    _require_labels(truths)
    hits = sum(r.label == t.label for r, t in zip(results, truths, strict=True))
    return hits / len(results)


def auc(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the area under the ROC curve: the chance that a positive outscores a negative.

    Anomaly scores are used as they are; of two classes, the second is the positive one.
    Ties count one half (Mann-Whitney U).
    """
    _require_labels(truths)
    positive = _positive_label(truths)
    scores = np.asarray([_positive_score(result) for result in results], np.float64)
    truth = np.asarray([truth.label == positive for truth in truths])
    good, bad = scores[~truth], scores[truth]
    if good.size == 0 or bad.size == 0:
        raise UsageError("auc needs samples of both kinds")
    order = np.sort(good)
    below = np.searchsorted(order, bad, side="left")
    upto = np.searchsorted(order, bad, side="right")
    return float((below + upto).sum() / 2 / (good.size * bad.size))


def _positive_label(truths: Sequence[Truth]) -> str:
    labels = {truth.label for truth in truths}
    if labels <= {"normal", "anomaly"}:
        return "anomaly"
    if len(labels) != 2:  # noqa: PLR2004 - a question with two answers
        raise UsageError(f"auc needs two classes, the data has {len(labels)}")
    return max(labels)


def _positive_score(result: Result) -> float:
    return result.scores[-1] if len(result.scores) == 2 else result.score  # noqa: PLR2004 - as above


def f1(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the mean over the true classes of precision and recall's harmonic mean."""
    _require_labels(truths)
    figures = per_class(results, truths)
    return float(np.mean([figures[label]["f1"] for label in sorted({t.label for t in truths})]))


def per_class(results: Sequence[Result], truths: Sequence[Truth]) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and number of samples by label."""
    found: dict[str, dict[str, float]] = {}
    pairs = [(r.label, t.label) for r, t in zip(results, truths, strict=True)]
    for label in sorted({name for pair in pairs for name in pair if name}):
        hits = sum(a == label == b for a, b in pairs)
        said = sum(a == label for a, _ in pairs)
        true = sum(b == label for _, b in pairs)
        found[label] = {
            "precision": hits / said if said else 0.0,
            "recall": hits / true if true else 0.0,
            "f1": 2 * hits / (said + true) if said + true else 0.0,
            "samples": float(true),
        }
    return found


def agreement(results: Sequence[Result], reference: Sequence[Result]) -> float:
    """Return how far the answers are those of the float original.

    Classes: share of equal labels. Objects: F1 of boxes matched at IoU 0.5. Scores
    (anomaly, regression): 1 minus the mean difference, relative to the mean score.
    """
    if not reference:
        raise UsageError("agreement needs the answers of the float model")
    kind = reference[0].task
    if kind == "detection":
        return _box_agreement(results, reference)
    if kind in {"anomaly", "regression"}:
        have = np.asarray([result.score for result in results], np.float64)
        want = np.asarray([result.score for result in reference], np.float64)
        scale = float(np.abs(want).mean())
        return max(0.0, 1.0 - float(np.abs(have - want).mean()) / max(scale, 1e-12))
    pairs = zip(results, reference, strict=True)
    return sum(a.label == b.label for a, b in pairs) / len(reference)


def _box_agreement(results: Sequence[Result], reference: Sequence[Result]) -> float:
    hits = said = true = 0
    for have, want in zip(results, reference, strict=True):
        hits += sum(matches(have.objects, want.objects))
        said += len(have.objects)
        true += len(want.objects)
    return 2 * hits / (said + true) if said + true else 1.0


def matches(found: Sequence[Detection], wanted: Sequence[Detection]) -> list[bool]:
    """Return for each object found, best first, whether it meets an unmet wanted one."""
    free = list(wanted)
    hits: list[bool] = []
    for item in found:
        same = [other for other in free if other.label == item.label]
        best = max(same, key=lambda other: overlap(item.box, other.box), default=None)
        hit = best is not None and overlap(item.box, best.box) >= MATCH_IOU
        if hit and best is not None:
            free.remove(best)
        hits.append(hit)
    return hits


def overlap(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def mean_average_precision(results: Sequence[Result], truths: Sequence[Truth]) -> float:
    """Return the mean over classes of the area under precision against recall at IoU 0.5."""
    labels = sorted({item.label for truth in truths for item in truth.objects})
    if not labels:
        raise UsageError("map50 needs data with labelled boxes")
    return float(np.mean([_average_precision(label, results, truths) for label in labels]))


def _average_precision(label: str, results: Sequence[Result], truths: Sequence[Truth]) -> float:
    scored: list[tuple[float, bool]] = []
    total = 0
    for result, truth in zip(results, truths, strict=True):
        wanted = [item for item in truth.objects if item.label == label]
        found = [item for item in result.objects if item.label == label]
        found.sort(key=lambda item: -item.score)
        total += len(wanted)
        scored += zip((item.score for item in found), matches(found, wanted), strict=True)
    scored.sort(key=lambda entry: -entry[0])
    hits = np.cumsum([hit for _, hit in scored])
    precision = hits / np.arange(1, len(scored) + 1)
    # Interpolated: at each recall the best precision at that or a higher recall.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(sum(p for p, (_, hit) in zip(envelope, scored, strict=True) if hit) / total)


def _require_labels(truths: Sequence[Truth]) -> None:
    if not truths or not all(truth.label for truth in truths):
        raise UsageError("this metric needs a label for every sample of the evaluation data")


def summary(values: Mapping[str, float]) -> dict[str, float]:
    """Return figures rounded for documents: six digits outlast any evaluation set."""
    return {name: round(value, 6) for name, value in sorted(values.items())}
