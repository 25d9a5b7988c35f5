"""Which input elements, with which weights, make each output element of a resized axis.

Source: ONNX operator Resize. Coordinates are computed in float32, as runtimes do.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Floats

Ints: TypeAlias = npt.NDArray[np.int64]
Reals: TypeAlias = npt.NDArray[np.float64]

TRANSFORMATIONS: Final = frozenset(
    {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"}
)
ROUNDINGS: Final = frozenset({"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})


@dataclass(frozen=True, slots=True)
class Axis:
    """One resized axis.

    Attributes:
        before: Its size.
        after: Its size in the output.
        scale: Output size per input size; not always the ratio of the two sizes.
    """

    before: int
    after: int
    scale: float


@dataclass(frozen=True, slots=True)
class Taps:
    """Row ``k`` of ``places`` and ``weights``, each ``(taps, after)``, is one term of a sum."""

    places: Ints
    weights: Floats


def coordinates(axis: Axis, where: str, kind: type[np.float32 | np.float64]) -> Reals:
    """Return where each output element lies in the input, ``(after,)``.

    Args:
        axis: The axis.
        where: One of ``TRANSFORMATIONS``.
        kind: Precision to compute in.
    """
    return np.asarray(_coordinates(axis, where, kind), np.float64)


def _coordinates(axis: Axis, where: str, kind: type[np.float32 | np.float64]) -> Array:
    x: Reals = np.arange(axis.after).astype(kind)
    scale, half = kind(axis.scale), kind(0.5)
    if where == "asymmetric":
        return np.divide(x, scale)
    if where == "align_corners":
        if axis.after == 1:
            return np.zeros(1, kind)
        return np.divide(x * kind(axis.before - 1), kind(axis.after - 1))
    if where == "pytorch_half_pixel" and axis.after == 1:
        return np.zeros(1, kind)
    found: Reals = (x + half) / scale - half
    if where == "half_pixel_symmetric":
        share = kind(axis.after) / (scale * kind(axis.before))
        found = found + kind(axis.before / 2) * (kind(1) - share)
    return found


def nearest(axis: Axis, where: str, rounding: str) -> Ints | None:
    """Return the input element for each output element, or ``None`` where precision decides."""
    found = []
    for kind in (np.float32, np.float64):
        x = coordinates(axis, where, kind)
        if rounding == "floor":
            place = np.floor(x)
        elif rounding == "ceil":
            place = np.ceil(x)
        elif rounding == "round_prefer_floor":
            place = np.ceil(x - 0.5)
        else:
            place = np.floor(x + 0.5)
        found.append(np.clip(place, 0, axis.before - 1).astype(np.int64))
    return found[0] if np.array_equal(found[0], found[1]) else None


def linear(axis: Axis, where: str) -> Taps:
    """Return the two neighbours of each output element and their weights."""
    x = np.clip(coordinates(axis, where, np.float32), 0, axis.before - 1)
    low = np.floor(x).astype(np.int64)
    high = np.minimum(low + 1, axis.before - 1)
    share = (x - low).astype(np.float32)
    return Taps(np.stack([low, high]), np.stack([1 - share, share]).astype(np.float32))


def cubic(axis: Axis, where: str, slope: float, *, exclude_outside: bool) -> Taps:
    """Return the four neighbours and their weights by Keys' kernel of parameter ``slope``.

    Elements outside of the axis are the nearest one inside, or left out.
    Source: Keys 1981, eq. 4.
    """
    x = coordinates(axis, where, np.float32)
    first = np.floor(x).astype(np.int64) - 1
    places = first + np.arange(4)[:, None]
    distance = np.abs(x - places)
    near = ((slope + 2) * distance - (slope + 3)) * distance**2 + 1
    far = ((slope * distance - 5 * slope) * distance + 8 * slope) * distance - 4 * slope
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))  # noqa: PLR2004 - the kernel's width
    if exclude_outside:
        weights = np.where((places >= 0) & (places < axis.before), weights, 0.0)
        weights = weights / weights.sum(axis=0)
    return Taps(np.clip(places, 0, axis.before - 1), weights.astype(np.float32))
