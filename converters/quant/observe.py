"""Watch tensors go by and remember their ranges in bounded memory."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array

HISTOGRAM_BINS: Final = 2048
"""Per tensor 16 kB, whatever the number of samples."""

SAMPLED_VALUES: Final = 16_384
"""Values that one sample of one tensor gives to its histogram, evenly spread: more change
nothing in the choice of a range, and a feature map may have millions."""

_SHRINK_STEPS: Final = 40
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
    """Smallest and largest value of a tensor, for every sample and over all of them."""

    def __init__(self) -> None:
        self._lows: list[float] = []
        self._highs: list[float] = []
        self.not_finite = 0

    def add(self, values: Array) -> None:
        """Take one sample's tensor in."""
        if not values.size:
            return
        low, high = float(np.min(values)), float(np.max(values))
        if not (np.isfinite(low) and np.isfinite(high)):
            numbers = values.astype(np.float64, copy=False).ravel()
            finite = numbers[np.isfinite(numbers)]
            self.not_finite += numbers.size - finite.size
            if not finite.size:
                return
            low, high = float(finite.min()), float(finite.max())
        self._lows.append(low)
        self._highs.append(high)

    def range(self) -> Range:
        """Return what was seen; zero where nothing was."""
        return Range(min(self._lows), max(self._highs)) if self._lows else Range(0.0, 0.0)

    def range_without(self, samples: Collection[int]) -> Range:
        """Return what all samples but those of these numbers spanned."""
        kept = [i for i in range(len(self._lows)) if i not in samples]
        if not kept:
            return self.range()
        return Range(min(self._lows[i] for i in kept), max(self._highs[i] for i in kept))

    def per_sample(self) -> npt.NDArray[np.float64]:
        """Return ``(samples, 2)``: smallest and largest value of each."""
        return np.asarray([self._lows, self._highs], np.float64).T


class Histogram:
    """Counts of a tensor's values over a known range.

    Args:
        full: The tensor's full range, from a pass of ``MinMax`` over the same samples.
    """

    def __init__(self, full: Range) -> None:
        self._full = full
        self._counts: npt.NDArray[np.int64] = np.zeros(HISTOGRAM_BINS, np.int64)
        self._without = self._counts.copy()
        self._set_aside: Collection[int] = ()
        self._added = 0

    def add(self, values: Array) -> None:
        """Take one sample's tensor in; of a large one every n-th value."""
        low, high = self._full.low, self._full.high
        flat = values.ravel()
        # An odd step, begun elsewhere in every sample, falls in step with no row or channel.
        step = max(1, flat.size // SAMPLED_VALUES) | 1
        numbers = flat[self._added % step :: step].astype(np.float64)
        aside = self._added in self._set_aside
        self._added += 1
        if high > low:
            numbers = numbers[np.isfinite(numbers)]
            places = ((numbers - low) * (HISTOGRAM_BINS / (high - low))).astype(np.int64)
            places = np.clip(places, 0, HISTOGRAM_BINS - 1)
            counts = np.bincount(places, minlength=HISTOGRAM_BINS)
            self._counts += counts
            if not aside:
                self._without += counts

    def set_aside(self, samples: Collection[int]) -> None:
        """Say which samples, by their number, ``without_aside`` is to leave out."""
        self._set_aside = frozenset(samples)

    def without_aside(self) -> "Histogram":
        """Return the histogram of all samples but those set aside, in the same bins."""
        rest = Histogram(self._full)
        rest._counts = self._without
        return rest

    @property
    def full(self) -> Range:
        """Return the full range."""
        return self._full

    def share_outside(self, kept: Range) -> float:
        """Return the share of values that a grid over ``kept`` would clip, 0-1."""
        total = int(self._counts.sum())
        if total == 0:
            return 0.0
        centres = self._centres()
        return float(self._counts[(centres < kept.low) | (centres > kept.high)].sum()) / total

    def percentile(self, share: float) -> Range:
        """Return the range without the outermost ``1 - share`` of values at either end.

        Args:
            share: Such as 0.9999; 1 gives the full range.
        """
        total = int(self._counts.sum())
        if total == 0 or share >= 1:
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
        centres = self._centres()
        best, least = self._full, np.inf
        for candidate in self._shrunk():
            scale = candidate.width / _LEVELS
            low = candidate.low
            rounded = np.rint((np.clip(centres, low, candidate.high) - low) / scale) * scale + low
            error = float(np.sum(self._counts * (rounded - centres) ** 2))
            if error < least:
                best, least = candidate, error
        return best

    def least_divergence(self) -> Range:
        """Return the range whose int8 grid tells the least less of the distribution.

        Kullback-Leibler divergence of the clipped counts from the same counts spread
        evenly over each of the grid's 255 levels.

        Source: Migacz 2017, "8-bit inference with TensorRT"; here for two-sided ranges.
        """
        if int(self._counts.sum()) == 0:
            return self._full
        centres = self._centres()
        best, least = self._full, np.inf
        for candidate in self._shrunk():
            divergence = _divergence(self._counts, centres, candidate)
            if divergence < least:
                best, least = candidate, divergence
        return best

    def _shrunk(self) -> Iterator[Range]:
        """Yield the full range with zero, and smaller ones, down to half."""
        low, high = min(self._full.low, 0.0), max(self._full.high, 0.0)
        if high - low <= 0:
            return
        for step in range(_SHRINK_STEPS):
            factor = 1.0 - step / (2 * _SHRINK_STEPS)
            yield Range(low * factor, high * factor)

    def _edges(self) -> npt.NDArray[np.float64]:
        return np.linspace(self._full.low, self._full.high, HISTOGRAM_BINS + 1)

    def _centres(self) -> npt.NDArray[np.float64]:
        edges = self._edges()
        return (edges[:-1] + edges[1:]) / 2


def _divergence(
    counts: npt.NDArray[np.int64], centres: npt.NDArray[np.float64], kept: Range
) -> float:
    """Return the Kullback-Leibler divergence that a grid over ``kept`` costs, in nats."""
    inside = (centres >= kept.low) & (centres <= kept.high)
    if not inside.any():
        return np.inf
    first, last = int(np.argmax(inside)), inside.size - int(np.argmax(inside[::-1]))
    shown = counts[first:last].astype(np.float64)
    clipped = shown.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    places = (centres[first:last] - kept.low) * (_LEVELS / kept.width)
    levels = np.clip(places.astype(np.int64), 0, _LEVELS - 1)
    filled = shown > 0
    members = np.maximum(np.bincount(levels, filled, _LEVELS), 1.0)
    spread = np.where(filled, (np.bincount(levels, shown, _LEVELS) / members)[levels], 0.0)
    p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1.0)
    seen = p > 0
    # A bin that only clipping fills has no counterpart: charged as one value in a million.
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-6))))
