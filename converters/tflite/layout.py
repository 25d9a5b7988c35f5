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
