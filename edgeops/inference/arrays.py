"""Array types, and the names of element types that contracts use."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgeops.contracts.scalars import DType

Array = NDArray[np.generic]
"""Samples and tensors of any element type."""

Floats = NDArray[np.float32]

_DTYPES: Final[dict[DType, np.dtype[np.generic]]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
}


def numpy_dtype(name: DType) -> np.dtype[np.generic]:
    """Return NumPy's element type for a contract's name."""
    return _DTYPES[name]


def dtype_name(dtype: np.dtype[np.generic]) -> DType | None:
    """Return the contract's name of a NumPy element type, or ``None`` where it has none."""
    return next((name for name, known in _DTYPES.items() if known == dtype), None)
