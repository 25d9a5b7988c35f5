"""Boxes against boxes: overlap, matching, and average precision; scikit-learn has none of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edgeops.contracts.result import Box, Detection, Result

MATCH_IOU: Final = 0.5


def overlap(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def pairs(found: Sequence[Detection], wanted: Sequence[Detection]) -> list[int | None]:
    """Return for each object found, best first, the index of the wanted one that it meets.

    Each wanted object is met once, by the first that overlaps it enough; labels must be equal.
    """
    free = list(range(len(wanted)))
    met: list[int | None] = []
    for item in found:
        same = [index for index in free if wanted[index].label == item.label]
        best = max(same, key=lambda index: overlap(item.box, wanted[index].box), default=None)
        if best is not None and overlap(item.box, wanted[best].box) < MATCH_IOU:
            best = None
        if best is not None:
            free.remove(best)
        met.append(best)
    return met


def matches(found: Sequence[Detection], wanted: Sequence[Detection]) -> list[bool]:
    """Return for each object found, best first, whether it meets an unmet wanted one."""
    return [index is not None for index in pairs(found, wanted)]


@dataclass(frozen=True, slots=True)
class ScoredHits:
    """All boxes that were found of one class, over all images, best score first.

    Attributes:
        image: Index of the image of each box.
        hit: Whether it meets a labelled box.
        wanted: Labelled boxes of this class per image.
    """

    image: npt.NDArray[np.int64]
    hit: npt.NDArray[np.float64]
    wanted: npt.NDArray[np.float64]

    def average_precision(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the area under the interpolated precision against recall, one per row.

        Args:
            weights: ``[rows, images]``, how often each image counts; all ones for the plain
                figure.

        Returns:
            ``[rows]``; NaN where no labelled box counts.

        Source: Everingham et al., PASCAL VOC 2010 development kit: area over all points.
        """
        counted = weights[:, self.image]
        hits = counted * self.hit
        precision = _ratio(np.cumsum(hits, axis=1), np.cumsum(counted, axis=1))
        # Interpolated: at each recall the best precision at that or a higher recall.
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        total = weights @ self.wanted
        area = (envelope * hits).sum(axis=1)
        return np.where(total > 0, area / np.where(total > 0, total, 1.0), np.nan)


def _ratio(
    part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return part / np.where(whole > 0, whole, 1.0)


def scored_hits(
    label: str, results: Sequence[Result], wanted: Sequence[Sequence[Detection]]
) -> ScoredHits:
    """Return the boxes of one class against the wanted ones of each image."""
    images: list[int] = []
    scores: list[float] = []
    hits: list[bool] = []
    counts: list[int] = []
    for number, (result, objects) in enumerate(zip(results, wanted, strict=True)):
        own = [item for item in objects if item.label == label]
        found = [item for item in result.objects if item.label == label]
        found.sort(key=lambda item: -item.score)
        images += [number] * len(found)
        scores += [item.score for item in found]
        hits += matches(found, own)
        counts.append(len(own))
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    return ScoredHits(
        image=np.asarray(images, np.int64)[order],
        hit=np.asarray(hits, np.float64)[order],
        wanted=np.asarray(counts, np.float64),
    )


def found_objects(
    results: Sequence[Result], wanted: Sequence[Sequence[Detection]]
) -> list[tuple[int, str, bool]]:
    """Return every wanted object: image, label, and whether the answers hold it."""
    rows: list[tuple[int, str, bool]] = []
    for number, (result, objects) in enumerate(zip(results, wanted, strict=True)):
        met = set(pairs(result.objects, objects))
        rows += [(number, item.label, index in met) for index, item in enumerate(objects)]
    return rows
