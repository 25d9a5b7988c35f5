"""Tell whether enough samples were seen for the ranges to be what they are.

Samples are drawn again from those seen, with replacement: where the range of a tensor then
depends on which ones came up, it would also have been another with other samples.

Source: Efron and Tibshirani 1993, "An introduction to the bootstrap".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.quant.observe import MinMax, Range

DRAWS: Final = 200
SEED: Final = 1

UNSTABLE: Final = 0.35
"""Spread of a range's width from which on it is called unstable, as a share of the width."""

FEWEST: Final = 4
"""With fewer samples all ranges are accidents."""


@dataclass(frozen=True, slots=True)
class Instability:
    """The tensor whose range depends most on the choice of samples.

    Attributes:
        tensor: Its name.
        spread: Width between the 5th and 95th percentile of the drawn ranges' widths, as a
            share of the range's width.
        samples: How many were seen.
        advised: How many would bring the spread to the limit, if it shrinks with the root
            of their number.
    """

    tensor: str
    spread: float
    samples: int
    advised: int

    @property
    def warning(self) -> str:
        """Return a sentence for people."""
        return (
            f"{self.samples} calibration samples are few: the range of {self.tensor!r} varies "
            f"by {self.spread:.0%} with the choice of samples; about {self.advised} would do"
        )


def most_unstable(
    watches: Mapping[str, MinMax], ranges: Mapping[str, Range], tensors: Iterable[str]
) -> Instability | None:
    """Return the least stable of ``tensors``, or ``None`` if all are stable enough.

    What a range clips does not count: it is stable where every drawing reaches its ends.

    Args:
        watches: What every sample spanned, by tensor name.
        ranges: The ranges in use.
        tensors: Those that lie on a grid.
    """
    names = sorted(name for name in tensors if name in watches and ranges[name].width > 0)
    if not names:
        return None
    spans = np.stack([_clipped(watches[name].per_sample(), ranges[name]) for name in names])
    samples = spans.shape[1]
    spreads = _spreads(spans)
    worst = int(np.argmax(spreads))
    spread = float(spreads[worst])
    if samples >= FEWEST and spread <= UNSTABLE:
        return None
    advised = max(int(np.ceil(samples * (spread / UNSTABLE) ** 2)), 10 * FEWEST)
    return Instability(names[worst], spread, samples, advised)


def _clipped(seen: npt.NDArray[np.float64], used: Range) -> npt.NDArray[np.float64]:
    """Return ``(samples, 2)``: what of each sample lies in the range, zero included."""
    low, high = min(used.low, 0.0), max(used.high, 0.0)
    return np.stack(
        [np.clip(np.minimum(seen[:, 0], 0), low, 0), np.clip(np.maximum(seen[:, 1], 0), 0, high)],
        axis=1,
    )


def _spreads(spans: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the relative spread of each tensor's width.

    Args:
        spans: ``(tensors, samples, 2)``.
    """
    random = np.random.default_rng(SEED)
    samples = spans.shape[1]
    widths = np.empty((DRAWS, spans.shape[0]))
    for row in widths:
        drawn = spans[:, random.integers(0, samples, samples)]
        row[:] = drawn[..., 1].max(axis=1) - drawn[..., 0].min(axis=1)
    full = spans[..., 1].max(axis=1) - spans[..., 0].min(axis=1)
    low, high = np.quantile(widths, [0.05, 0.95], axis=0)
    return np.asarray((high - low) / np.maximum(full, np.finfo(np.float64).tiny))
