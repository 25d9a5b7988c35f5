"""How far a figure can be trusted: 95 % confidence intervals from the samples at hand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from converters.resampling import Estimator, Numbers

RESAMPLES: Final = 1000
MIN_RESAMPLES: Final = 200
SEED: Final = 1

MAX_DRAWS: Final = 20_000_000
"""Bounds the time: beyond 20,000 samples fewer resamples do, as the figure itself is steadier."""

_CHUNK: Final = 1_000_000
"""Weights held at a time: 8 MB."""

_Z: Final = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true figure lies with 95 % confidence."""

    low: float
    high: float


def wilson(hits: float, total: float) -> Interval:
    """Return the interval of a share of ``total`` samples, 0-1 (all of it for no sample).

    Source: Wilson 1927; unlike the plain normal one it does not shrink to nothing at 0 and 1.
    """
    if total <= 0:
        return Interval(0.0, 1.0)
    share = hits / total
    centre = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    half = (
        _Z
        / (1 + _Z**2 / total)
        * float(np.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2)))
    )
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def paired_difference(lost: int, gained: int, total: int) -> Interval:
    """Return the interval of the drop of a share that both models were judged on.

    Args:
        lost: Samples right before and wrong after.
        gained: Samples wrong before and right after.
        total: All samples.

    Source: Agresti and Min 2005: the normal interval after half a sample was added to each cell
    of the table. A resampling interval would be empty where no answer changed.
    """
    size = total + 2.0
    one, other = lost + 0.5, gained + 0.5
    drop = (one - other) / size
    half = _Z * float(np.sqrt(one + other - (one - other) ** 2 / size)) / size
    return Interval(max(-1.0, drop - half), min(1.0, drop + half))


def draws(samples: int, seed: int = SEED) -> Iterator[Numbers]:
    """Yield bootstrap weights ``[rows, samples]``, a thousand rows in all; same seed, same rows."""
    random = np.random.default_rng(seed)
    left = max(MIN_RESAMPLES, min(RESAMPLES, MAX_DRAWS // max(1, samples)))
    step = max(1, _CHUNK // max(1, samples))
    while left > 0:
        rows = min(step, left)
        picked = random.integers(0, samples, (rows, samples))
        picked += np.arange(rows)[:, None] * samples
        counts = np.bincount(picked.ravel(), minlength=rows * samples)
        yield counts.reshape(rows, samples).astype(np.float64)
        left -= rows


def bootstrap(estimators: Sequence[Estimator], samples: int, seed: int = SEED) -> Numbers:
    """Return the figures of all resamples, ``[estimators, resamples]``.

    Every estimator sees the same resamples, so differences between rows are paired.
    """
    parts = [
        np.stack([estimate(weights) for estimate in estimators]) for weights in draws(samples, seed)
    ]
    return np.concatenate(parts, axis=1)


def spread(figures: Numbers) -> Interval | None:
    """Return the middle 95 % of resampled figures.

    ``None`` where fewer than half exist, and where all are equal: a sample without a single
    exception tells nothing about how rare exceptions are.
    """
    known = figures[np.isfinite(figures)]
    if known.size * 2 < figures.size or not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    if low == high:
        return None
    return Interval(float(low), float(high))
