"""What can be wrong with an array of weights, whatever file it is in."""

import numpy as np

from converters.arrays import Array


def dead_channels(weights: Array, axis: int) -> int:
    """Return how many slices along ``axis`` are all zero; a zero array counts as one whole."""
    if weights.size == 0 or not 0 <= axis < weights.ndim:
        return 0
    others = tuple(i for i in range(weights.ndim) if i != axis)
    return int(np.count_nonzero(~np.any(weights != 0, axis=others)))


def count_not_finite(weights: Array) -> int:
    """Return how many elements are infinite or no numbers."""
    if weights.dtype.kind != "f" and weights.dtype.name != "bfloat16":
        return 0
    return int(np.count_nonzero(~np.isfinite(weights.astype(np.float32))))
