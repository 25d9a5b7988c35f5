"""The ladder that keeps int8 within its accuracy budget, one rung at a time.

Pure: the caller says how a rung is tried. Every rung tried is kept for the report.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from converters.calibration import CalibrationMethod

CALIBRATORS: Final[tuple[CalibrationMethod, ...]] = ("minmax", "mse", "percentile")

MAX_FLOAT_SHARE: Final = 0.5
"""Beyond half of its layers in float a model is no int8 model any more."""

TOLERANCE: Final = 1e-9
"""Against binary fractions: a drop of exactly the budget is within it."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to choose scales.

    Attributes:
        method: How ranges are calibrated.
        keep_float: Layers that stay float.
    """

    method: CalibrationMethod
    keep_float: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return a short name for reports, such as ``mse+4-float``."""
        return f"{self.method}+{len(self.keep_float)}-float" if self.keep_float else self.method


@dataclass(frozen=True, slots=True)
class Attempt:
    """A rung and what came of it.

    Attributes:
        drop: Loss of the metric against the float original; the worst of all int8 files.
    """

    rung: Rung
    drop: float


def climb(
    attempt: Callable[[Rung], float],
    rank: Callable[[CalibrationMethod], Sequence[str]],
    max_drop: float,
) -> tuple[Attempt, ...]:
    """Try rungs until one is within budget; the last attempt tells whether any was.

    Args:
        attempt: Returns the drop of a rung.
        rank: Returns the layers, most sensitive first; called only when needed.
        max_drop: Largest accepted drop.
    """
    tried: list[Attempt] = []
    for rung in _rungs(tried, rank):
        tried.append(Attempt(rung, attempt(rung)))
        if is_within(tried[-1].drop, max_drop):
            break
    return tuple(tried)


def is_within(drop: float, max_drop: float) -> bool:
    """Whether ``drop`` is accepted."""
    return drop <= max_drop + TOLERANCE


def _rungs(
    tried: Sequence[Attempt], rank: Callable[[CalibrationMethod], Sequence[str]]
) -> Iterator[Rung]:
    for method in CALIBRATORS:
        yield Rung(method)
    best = min(tried, key=lambda attempt: attempt.drop).rung.method
    layers = rank(best)
    count = 1
    while count <= len(layers) * MAX_FLOAT_SHARE:
        yield Rung(best, tuple(sorted(layers[:count])))
        count *= 2
