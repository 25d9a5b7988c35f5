"""What a detection head's decoder gives, before overlaps are suppressed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from edgeops.inference.arrays import Floats
from edgeops.inference.postprocess.nms import Indices

MAX_CANDIDATES: Final = 3000
"""Most boxes that go into suppression: it bounds what a model gone wild can cost."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes in pixels of the tensor.

    Attributes:
        boxes: ``[n, 4]`` as x1, y1, x2, y2.
        scores: ``[n]`` in 0..1.
        classes: ``[n]``, indices of the task's labels.
    """

    boxes: Floats
    scores: Floats
    classes: Indices


Head = Callable[[Sequence[Floats], tuple[int, int]], Candidates]
"""Outputs and the tensor's (width, height) in pixels to candidates."""


def strongest(rows: Indices, scores: Floats) -> Indices:
    """Return at most ``MAX_CANDIDATES`` of ``rows``, those with the best ``scores[rows]``."""
    if len(rows) <= MAX_CANDIDATES:
        return rows
    best = np.argpartition(-scores[rows], MAX_CANDIDATES)[:MAX_CANDIDATES]
    return cast("Indices", np.sort(rows[best]))


def corners(centres: Floats) -> Floats:
    """Return ``[n, 4]`` boxes given as cx, cy, w, h as x1, y1, x2, y2."""
    half = centres[:, 2:4] / 2
    return cast("Floats", np.hstack([centres[:, :2] - half, centres[:, :2] + half]))
