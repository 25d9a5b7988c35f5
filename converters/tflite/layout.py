"""Layout as data: a value keeps the permutation from stored axes to ONNX axes.

``perm[i]`` is the ONNX axis that stored axis ``i`` holds. An ONNX Transpose is then free,
and a TRANSPOSE is emitted only where an operator asks for a layout that a value has not.
Nothing is ever inferred from shapes being equal.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from converters.quant.plan import Grid

Perm: TypeAlias = tuple[int, ...]

NHWC: Final[Perm] = (0, 2, 3, 1)
IMAGE_RANK: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor of the file as one of ONNX's values.

    Attributes:
        tensor: Index in the file.
        shape: In ONNX's order.
        perm: Stored axis -> ONNX axis.
        dtype: Type of the *real* numbers: a value on a grid is float32 here.
        grid: Where the value is stored as int8.
    """

    tensor: int
    shape: tuple[int, ...]
    perm: Perm
    dtype: np.dtype[np.generic]
    grid: Grid | None = None

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Return the shape in the file's order."""
        return tuple(self.shape[axis] for axis in self.perm)

    def stored_axis(self, axis: int) -> int:
        """Return where ONNX axis ``axis`` is stored."""
        return self.perm.index(axis)


def identity(rank: int) -> Perm:
    """Return ONNX's own order."""
    return tuple(range(rank))


def is_same_order(shape: tuple[int, ...], first: Perm, second: Perm) -> bool:
    """Whether two layouts of ``shape`` hold the same bytes: only axes of size 1 differ."""
    return [a for a in first if shape[a] != 1] == [a for a in second if shape[a] != 1]


def transposed(perm: Perm, order: Perm) -> Perm:
    """Return the layout of ``transpose(x, order)`` where ``x`` has layout ``perm``."""
    return tuple(order.index(axis) for axis in perm)


def reshaped(before: tuple[int, ...], after: tuple[int, ...], perm: Perm) -> Perm | None:
    """Return the layout of a reshaped value whose stored bytes stay where they are.

    Args:
        before: Shape in ONNX's order.
        after: The shape that ONNX reshapes to; as many elements, none of them zero.
        perm: Layout of the value before.

    Returns:
        ``None`` where the axes that merge or split are not stored side by side.
    """
    order = [axis for axis in perm if before[axis] != 1]
    pieces: list[tuple[int, tuple[int, ...]]] = []
    for sources, targets in _factors(before, after):
        large = [axis for axis in sources if before[axis] != 1]
        place = order.index(large[0]) if large else -1
        if large and order[place : place + len(large)] != large:
            return None
        pieces.append((place, targets))
    return tuple(axis for _, targets in sorted(pieces) for axis in targets)


def _factors(
    before: tuple[int, ...], after: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the smallest runs of axes with equal products, as (axes before, axes after)."""
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        first, second = i, j
        have = want = 1
        if i < len(before):
            have, i = before[i], i + 1
        if j < len(after):
            want, j = after[j], j + 1
        while have != want:
            if have < want:
                have, i = have * before[i], i + 1
            else:
                want, j = want * after[j], j + 1
        found.append((tuple(range(first, i)), tuple(range(second, j))))
    return found
