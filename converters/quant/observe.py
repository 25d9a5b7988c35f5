"""Watch tensors go by and remember their ranges in bounded memory."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array

HISTOGRAM_BINS: Final = 2048
"""Per tensor 16 kB, whatever the number of samples."""

_MSE_STEPS: Final = 40
_LEVELS: Final = 255


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest and largest value that the grid of a tensor must hold."""

    low: float
    high: float

    def union(self, other: "Range") -> "Range":
        """Return the range that covers both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    @property
    def width(self) -> float:
        """Distance of the ends, zero included, as an int8 grid would have it."""
        return max(self.high, 0.0) - min(self.low, 0.0)


class MinMax:
    """Smallest and largest finite value of a tensor."""

    def __init__(self) -> None:
        self._low = np.inf
        self._high = -np.inf
        self.not_finite = 0

    def add(self, values: Array) -> None:
        """Take one sample's tensor in."""
        numbers = values.astype(np.float64, copy=False).ravel()
        finite = np.isfinite(numbers)
        if not finite.all():
            self.not_finite += int(numbers.size - finite.sum())
            numbers = numbers[finite]
        if numbers.size:
            self._low = min(self._low, float(numbers.min()))
            self._high = max(self._high, float(numbers.max()))

    def range(self) -> Range:
        """Return what was seen; zero where nothing was."""
        return Range(self._low, self._high) if self._low <= self._high else Range(0.0, 0.0)


class Histogram:
    """Counts of a tensor's values over a known range.

    Args:
        full: The tensor's full range, from a pass of ``MinMax`` over the same samples.
    """

    def __init__(self, full: Range) -> None:
        self._full = full
        self._counts: npt.NDArray[np.int64] = np.zeros(HISTOGRAM_BINS, np.int64)

    def add(self, values: Array) -> None:
        """Take one sample's tensor in."""
        numbers = values.astype(np.float64, copy=False).ravel()
        low, high = self._full.low, self._full.high
        if high > low:
            counts, _ = np.histogram(numbers[np.isfinite(numbers)], HISTOGRAM_BINS, (low, high))
            self._counts += counts

    def percentile(self, share: float) -> Range:
        """Return the range without the outermost ``1 - share`` of values at either end.

        Args:
            share: Such as 0.9999; 1 gives the full range.
        """
        total = int(self._counts.sum())
        if total == 0:
            return self._full
        edges = self._edges()
        running = np.cumsum(self._counts) / total
        first = int(np.searchsorted(running, 1.0 - share, side="right"))
        last = int(np.searchsorted(running, share, side="left"))
        return Range(float(edges[min(first, last)]), float(edges[last + 1]))

    def least_error(self) -> Range:
        """Return the range whose int8 grid has the smallest mean squared error.

        Both ends shrink together towards zero; clipping costs more and more, rounding
        less and less, and the best compromise is found by trying.
        """
        if int(self._counts.sum()) == 0:
            return self._full
        edges = self._edges()
        centres = (edges[:-1] + edges[1:]) / 2
        best, least = self._full, np.inf
        for step in range(_MSE_STEPS):
            factor = 1.0 - step / (2 * _MSE_STEPS)
            low, high = min(self._full.low, 0.0) * factor, max(self._full.high, 0.0) * factor
            scale = (high - low) / _LEVELS
            if scale <= 0:
                break
            rounded = np.rint((np.clip(centres, low, high) - low) / scale) * scale + low
            error = float(np.sum(self._counts * (rounded - centres) ** 2))
            if error < least:
                best, least = Range(low, high), error
        return best

    def _edges(self) -> npt.NDArray[np.float64]:
        return np.linspace(self._full.low, self._full.high, HISTOGRAM_BINS + 1)
