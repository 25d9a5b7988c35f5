"""The quantization plan: the one source of truth for every integer file we write.

Grids are kept in int8, the form of TFLite. ONNX Runtime on x86 is 2-5 times faster with
uint8 activations; that is another spelling of the same grid (zero point + 128), chosen by
the ONNX writer, so both files hold exactly the same real numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Floats

GridType = Literal["int8", "uint8", "int16", "int32", "int64"]

ActivationForm = Literal["int8", "int16"]
"""How a plan stores activations: in 8 bits, or in 16 (TFLite's "16x8" kernels)."""

GRID_BOUNDS: Final[Mapping[GridType, tuple[int, int]]] = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    # TFLite rescales 64-bit sums of 48 bits; half of that is left to the products.
    "int64": (-(2**46), 2**46 - 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where a tensor's real values lie: ``real = scale * (q - zero_point)``.

    Attributes:
        scale: One positive number, or one per channel; each exactly a float32.
        zero_point: As many whole numbers as there are scales.
        axis: Channel axis in ONNX's order; ``None`` for one grid for the whole tensor.
        dtype: Integer type that stores ``q``.
        symmetric: Whether the lowest value is left out (weights: -127..127), as the
            TFLite specification demands.

    Source: Jacob et al. 2018, eq. 1.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    dtype: GridType = "int8"
    symmetric: bool = False

    def __post_init__(self) -> None:
        """Hold what the formula needs."""
        if len(self.scale) != len(self.zero_point) or (self.axis is None and len(self.scale) != 1):
            raise ValueError("a grid needs one zero point per scale, and one scale without axis")
        if not all(0 < value < np.inf for value in self.scale):
            raise ValueError("a grid's scale must be positive and finite")

    def shaped(self, rank: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return scales and zero points shaped to broadcast over a tensor of ``rank`` axes."""
        shape = (1,) * rank
        if self.axis is not None:
            shape = tuple(-1 if axis == self.axis else 1 for axis in range(rank))
        scale = np.asarray(self.scale, np.float32).reshape(shape)
        return scale, np.asarray(self.zero_point, np.int64).reshape(shape)

    @property
    def bounds(self) -> tuple[int, int]:
        """Return the smallest and largest ``q``."""
        low, high = GRID_BOUNDS[self.dtype]
        return low + self.symmetric, high

    def quantize(self, real: Array) -> Array:
        """Return ``real`` on this grid: ties to even, clipped at the ends of the type."""
        scale, zero_point = self.shaped(real.ndim)
        low, high = self.bounds
        steps = np.rint(real.astype(np.float64) / scale.astype(np.float64)) + zero_point
        return np.clip(steps, low, high).astype(self.dtype)

    def dequantize(self, stored: Array) -> Floats:
        """Return the real numbers behind ``stored``, as float32."""
        scale, zero_point = self.shaped(stored.ndim)
        return ((stored.astype(np.int64) - zero_point) * scale.astype(np.float64)).astype(
            np.float32
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantPlan:
    """Which nodes compute in integers, and the grid of every tensor they touch.

    Attributes:
        tensors: Grid by tensor name: activations, weights and biases. A tensor without
            a grid is float, or exists only inside a fused pair such as Conv and Relu.
        quantized: Names of the nodes that compute in integers.
        islands: Names of the nodes that stay float, with the reason.
        quantized_macs: Share of multiply-accumulates in integer nodes, 0-1.
        quantized_bytes: Share of the float weights' and biases' bytes that integer nodes
            hold, 0-1.
        activations: Integer type of every activation.
    """

    tensors: Mapping[str, Grid]
    quantized: frozenset[str]
    islands: Mapping[str, str]
    quantized_macs: float
    quantized_bytes: float = 0.0
    activations: ActivationForm = "int8"


def asymmetric_grid(low: float, high: float) -> Grid:
    """Return the int8 grid that covers ``low`` to ``high`` and holds zero exactly.

    Zero must be exact: padding and ReLU produce it, and an error there is a bias.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(float(np.float32((high - low) / 255.0)), MIN_ACTIVATION_SCALE)
    zero_point = int(np.clip(np.rint(-128.0 - low / scale), -128, 127))
    return Grid(scale=(float(np.float32(scale)),), zero_point=(zero_point,))


def symmetric_grid(low: float, high: float) -> Grid:
    """Return the int16 grid that covers ``low`` to ``high``: TFLite wants zero at 0."""
    reach = max(abs(low), abs(high))
    scale = max(float(np.float32(reach / 32767.0)), MIN_ACTIVATION_SCALE)
    return Grid(scale=(float(np.float32(scale)),), zero_point=(0,), dtype="int16")


def unsigned(grid: Grid) -> Grid:
    """Return the uint8 spelling of an int8 grid: the same real numbers."""
    points = tuple(point + 128 for point in grid.zero_point)
    return replace(grid, zero_point=points, dtype="uint8")


def activation_grid(low: float, high: float, form: ActivationForm) -> Grid:
    """Return the grid of an activation that lies between ``low`` and ``high``."""
    return asymmetric_grid(low, high) if form == "int8" else symmetric_grid(low, high)


MIN_ACTIVATION_SCALE: Final = 1e-8
"""Floor for tensors that were zero on every calibration sample."""
