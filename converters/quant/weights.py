"""Grids for weights and biases.

Weights are symmetric and per channel. The grid of a bias follows from its layer
(``scale = input scale * weight scale``), so that the integer sum needs no rescaling.
"""

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from converters.arrays import Array
from converters.quant.plan import Grid

MIN_WEIGHT_SCALE: Final = 1e-12
"""Floor against channels that are all zero; a zero scale would make the bias infinite."""

FULL_RANGE: Final = 127
REDUCED_RANGE: Final = 63
"""Two products of a uint8 and such a weight fit into 16 bits, in which x86 processors without
VNNI add them up: 2 * 255 * 63 < 2**15. Larger sums would be cut off without a word."""

MAX_BIAS_STEPS: Final = 2**30
"""A bias may use half the range of int32; the other half is left to the sum."""

MAX_WIDE_BIAS_STEPS: Final = 2**40
"""The same for the 48 bits that kernels for 16-bit activations rescale."""


def weight_grid(
    weights: Array,
    bias: Array | None,
    input_scale: float,
    axis: int | None,
    *,
    largest: int = FULL_RANGE,
    largest_bias: int = MAX_BIAS_STEPS,
) -> Grid:
    """Return the int8 grid of ``weights``.

    A channel whose bias would overflow the sum gets a coarser weight scale: such channels
    have (nearly) no weights, so the bias is what matters.

    Args:
        weights: Float weights in ONNX's order.
        bias: One value per channel of ``axis``, if the layer has any.
        input_scale: Scale of the layer's input.
        axis: Channel axis, ``None`` for one scale for all.
        largest: Magnitude that the largest weight becomes.
        largest_bias: Magnitude in steps of the sum that no bias exceeds.
    """
    magnitude = np.abs(weights.astype(np.float64))
    if axis is None:
        scale: npt.NDArray[np.float64] = np.asarray([magnitude.max(initial=0.0) / largest])
    else:
        others = tuple(i for i in range(weights.ndim) if i != axis)
        scale = magnitude.max(axis=others, initial=0.0) / largest
    scale = np.maximum(scale, MIN_WEIGHT_SCALE)
    if bias is not None:
        limit = np.abs(bias.astype(np.float64)) / (largest_bias * input_scale)
        scale = np.maximum(scale, limit.max(initial=0.0) if axis is None else limit)
    stored = scale.astype(np.float32)
    return Grid(
        scale=tuple(float(value) for value in stored),
        zero_point=(0,) * stored.size,
        axis=axis,
        symmetric=True,
    )


def bias_grid(
    weights: Grid, input_scale: float, dtype: Literal["int32", "int64"] = "int32"
) -> Grid:
    """Return the grid that the integer sum of a layer has: int64 for 16-bit activations.

    The channel axis of a bias is 0, whatever that of the weights: runtimes refuse others.
    """
    product = np.asarray(weights.scale, np.float32) * np.float32(input_scale)
    scale = np.maximum(product, np.finfo(np.float32).tiny)
    return Grid(
        scale=tuple(float(value) for value in scale),
        zero_point=(0,) * scale.size,
        axis=None if weights.axis is None else 0,
        dtype=dtype,
    )
