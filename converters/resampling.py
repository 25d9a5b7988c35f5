"""Figures of weighted samples: one row of weights, one figure, many rows at once.

Weights tell how often each sample counts. All ones give the plain figure, counts of a draw with
replacement give the figure of a bootstrap resample, zeros and ones that of a part of the data.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from converters.detections import matches, scored_hits
from converters.metrics import Measure, Truth, numbers, two_sided
from edgeops.contracts.result import Result
from edgeops.errors import UsageError

Numbers: TypeAlias = npt.NDArray[np.float64]

Estimator: TypeAlias = Callable[[Numbers], Numbers]
"""Takes weights ``[rows, samples]``, gives ``[rows]``; NaN where a row leaves it undefined."""


def estimator(  # noqa: PLR0911 - one for each figure
    metric: Measure,
    results: Sequence[Result],
    truths: Sequence[Truth],
    reference: Sequence[Result],
) -> Estimator | None:
    """Return the weighted form of ``metrics.measure``; ``None`` for figures that have none.

    Raises:
        UsageError: The metric does not fit the data.
    """
    match metric:
        case "top1":
            return mean_of([r.label == t.label for r, t in zip(results, truths, strict=True)])
        case "mse":
            errors = numbers(truths) - [result.score for result in results]
            return mean_of(errors**2)
        case "f1" | "precision" | "recall":
            return _macro(metric, results, truths)
        case "auc":
            return _area(*two_sided(results, truths))
        case "average_precision":
            return _precision_area(*two_sided(results, truths))
        case "map50":
            return _mean_precision(results, truths)
        case "agreement":
            return _agreement(results, reference)
        case "rank":
            return None


def mean_of(values: npt.ArrayLike) -> Estimator:
    """Return the estimator of the mean of one number per sample."""
    column = np.asarray(values, np.float64)
    return lambda weights: divided(weights @ column, weights.sum(axis=1))


def divided(part: Numbers, whole: Numbers) -> Numbers:
    """Return ``part / whole``, NaN where ``whole`` is zero."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


def nan_mean(rows: Numbers) -> Numbers:
    """Return the mean of each row over its numbers; NaN for a row without any."""
    known = np.isfinite(rows)
    return divided(np.where(known, rows, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _macro(metric: str, results: Sequence[Result], truths: Sequence[Truth]) -> Estimator:
    """Return the estimator of a mean over classes; its memory does not grow with their number."""
    labels = {label: index for index, label in enumerate(sorted({t.label for t in truths}))}
    other = len(labels)
    said = np.asarray([labels.get(result.label, other) for result in results], np.intp)
    true = np.asarray([labels[truth.label] for truth in truths], np.intp)
    hit = np.where(said == true, true, other)

    def counted(index: npt.NDArray[np.intp], weights: Numbers) -> Numbers:
        """Return the weight of each class, ``[rows, classes]``."""
        return np.stack([np.bincount(index, row, other + 1)[:other] for row in weights])

    def figure(weights: Numbers) -> Numbers:
        hits, claimed, present = (counted(index, weights) for index in (hit, said, true))
        below = {"precision": claimed, "recall": present, "f1": (claimed + present) / 2}[metric]
        values = np.nan_to_num(divided(hits, below))
        return nan_mean(np.where(present > 0, values, np.nan))

    return figure


def _grouped(
    positive: npt.NDArray[np.bool_], scores: Numbers
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Numbers]:
    """Return the order by falling score, where each group of equal scores begins, positives."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts, positive[order].astype(np.float64)


def _area(positive: npt.NDArray[np.bool_], scores: Numbers) -> Estimator:
    """Return the weighted Mann-Whitney form of the area under the ROC curve."""
    order, starts, ranked = _grouped(positive, scores)

    def figure(weights: Numbers) -> Numbers:
        sorted_weights = weights[:, order]
        good = np.add.reduceat(sorted_weights * ranked, starts, axis=1)
        bad = np.add.reduceat(sorted_weights * (1.0 - ranked), starts, axis=1)
        outscored = bad.sum(axis=1, keepdims=True) - np.cumsum(bad, axis=1) + bad / 2
        return divided((good * outscored).sum(axis=1), good.sum(axis=1) * bad.sum(axis=1))

    return figure


def _precision_area(positive: npt.NDArray[np.bool_], scores: Numbers) -> Estimator:
    order, starts, ranked = _grouped(positive, scores)

    def figure(weights: Numbers) -> Numbers:
        sorted_weights = weights[:, order]
        good = np.add.reduceat(sorted_weights * ranked, starts, axis=1)
        said = np.cumsum(np.add.reduceat(sorted_weights, starts, axis=1), axis=1)
        precision = np.nan_to_num(divided(np.cumsum(good, axis=1), said))
        return divided((precision * good).sum(axis=1), good.sum(axis=1))

    return figure


def _mean_precision(results: Sequence[Result], truths: Sequence[Truth]) -> Estimator:
    wanted = [truth.objects for truth in truths]
    labels = sorted({item.label for objects in wanted for item in objects})
    if not labels:
        raise UsageError("map50 needs data with labelled boxes")
    tables = [scored_hits(label, results, wanted) for label in labels]
    return lambda weights: nan_mean(
        np.stack([table.average_precision(weights) for table in tables], axis=1)
    )


def _agreement(results: Sequence[Result], reference: Sequence[Result]) -> Estimator:
    if not reference:
        raise UsageError("agreement needs the answers of the float model")
    kind = reference[0].task
    both = list(zip(results, reference, strict=True))
    if kind == "detection":
        hits = np.asarray([sum(matches(a.objects, b.objects)) for a, b in both], np.float64)
        boxes = np.asarray([len(a.objects) + len(b.objects) for a, b in both], np.float64)

        def share_of_boxes(weights: Numbers) -> Numbers:
            share = divided(2 * (weights @ hits), weights @ boxes)
            return np.where(np.isfinite(share), share, 1.0)

        return share_of_boxes
    if kind in {"anomaly", "regression"}:
        apart = np.asarray([abs(a.score - b.score) for a, b in both], np.float64)
        size = np.asarray([abs(b.score) for _, b in both], np.float64)
        return lambda weights: np.maximum(
            0.0, 1.0 - (weights @ apart) / np.maximum(weights @ size, 1e-12)
        )
    return mean_of([a.label == b.label for a, b in both])
