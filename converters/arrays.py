"""Names for the array types that pass between the parts of the converter."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]
"""Any tensor; the dtype is checked where it matters."""

Floats: TypeAlias = npt.NDArray[np.float32]
"""A float32 tensor."""

Feeds: TypeAlias = dict[str, Array]
"""One sample: graph input name -> tensor with its batch axis."""

LARGEST_WEIGHT: Final = 1e18
"""The product of two such numbers still fits into float32."""


def as_floats(array: Array) -> Floats:
    """Return ``array`` as float32, without a copy where it already is; too large is infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array, dtype=np.float32)


def as_ints(array: Array) -> tuple[int, ...]:
    """Return the elements of ``array`` as whole numbers, in order."""
    return tuple(int(value) for value in np.asarray(array, dtype=np.int64).ravel())
