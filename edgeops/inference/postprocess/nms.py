"""Non-maximum suppression: of boxes that overlap, the best one stays."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgeops.inference.arrays import Floats

Indices = NDArray[np.intp]


def suppress(boxes: Floats, scores: Floats, classes: Indices, *, iou: float, most: int) -> Indices:
    """Return the rows that stay, best first; boxes of different classes never meet.

    A box goes when one that stays, of its class and no worse (ties: the earlier row), overlaps it
    by more than ``iou``.

    Args:
        boxes: ``[n, 4]`` as x1, y1, x2, y2.
        scores: ``[n]``.
        classes: ``[n]``.
        iou: Intersection over union, 0..1.
        most: Most rows returned.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, classes = boxes[order], classes[order]
    areas = _area(boxes)
    alive = np.ones(len(order), dtype=np.bool_)
    kept: list[int] = []
    for row in range(len(order)):
        if not alive[row]:
            continue
        kept.append(row)
        if len(kept) == most:
            break
        low = np.maximum(boxes[row, :2], boxes[row + 1 :, :2])
        high = np.minimum(boxes[row, 2:], boxes[row + 1 :, 2:])
        common = np.prod(np.maximum(high - low, 0.0), axis=1)
        union = areas[row] + areas[row + 1 :] - common
        overlaps = common > iou * union
        alive[row + 1 :] &= ~(overlaps & (classes[row + 1 :] == classes[row]))
    return order[kept]


def _area(boxes: Floats) -> Floats:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return cast("Floats", sides[:, 0] * sides[:, 1])
