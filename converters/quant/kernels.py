"""Integer layers in NumPy: exact sums of whole numbers.

Kernels take centred numbers (``q - zero point``), so that a zero is zero and padding needs
no special case. Sums are matrix products in floating point, which is exact as long as no
sum exceeds the mantissa; the type is chosen so that none does.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, as_ints
from converters.graph import Node

Whole: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]
"""Whole numbers in floating point."""

Reals: TypeAlias = npt.NDArray[np.float64]

_EXACT_IN_FLOAT32: Final = 2.0**24


class LayerSum:
    """The sums of one layer, made ready once.

    Args:
        node: A canonical Conv, ConvTranspose, Gemm or MatMul.
        weights: Stored weights in ONNX's order.
    """

    def __init__(self, node: Node, weights: Array) -> None:
        stated = node.attributes
        self._op = node.op
        self._group = _ints(stated, "group", (1,))[0]
        self._pads = _ints(stated, "pads", (0, 0, 0, 0))
        self._strides = _ints(stated, "strides", (1, 1))
        self._dilations = _ints(stated, "dilations", (1, 1))
        self._extra = _ints(stated, "output_padding", (0, 0))
        self._narrow = weights.astype(np.float32)
        self._wide = weights.astype(np.float64)
        axes = {"Gemm": (1,), "MatMul": (0,), "ConvTranspose": (0, 2, 3)}.get(node.op, (1, 2, 3))
        self._reach = float(np.abs(self._wide).sum(axis=axes).max(initial=0.0))

    def __call__(self, source: npt.NDArray[np.float32]) -> Whole:
        """Return the exact sums, without the bias, in the shape of the node's output."""
        largest = float(np.abs(source).max(initial=0.0)) * self._reach
        if largest < _EXACT_IN_FLOAT32:
            return self._sum(source, self._narrow)
        return self._sum(source.astype(np.float64), self._wide)

    def _sum(self, source: Whole, weights: Whole) -> Whole:
        match self._op:
            case "Gemm":
                return source @ weights.T
            case "MatMul":
                return source @ weights
            case "Conv" if weights.shape[1] == 1 and self._group > 1:
                return self._depthwise(source, weights)
            case "Conv":
                return self._convolve(source, weights)
            case _:
                return self._transposed(source, weights)

    def _windows(self, source: Whole, kernel: tuple[int, ...]) -> Whole:
        """Return a view ``[batch, channels, height, width, kernel height, kernel width]``."""
        top, left, bottom, right = self._pads
        padded = np.pad(source, ((0, 0), (0, 0), (top, bottom), (left, right)))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, self._dilations, strict=True)]
        views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
        (down, across), (below, beside) = self._strides, self._dilations
        return views[:, :, ::down, ::across, ::below, ::beside]

    def _depthwise(self, source: Whole, weights: Whole) -> Whole:
        """Add up tap by tap: there is one input per output."""
        windows = self._windows(source, weights.shape[2:])
        batch, _, height, width = windows.shape[:4]
        spread = len(weights) // self._group
        factors = weights.reshape(1, self._group, spread, *weights.shape[2:], 1, 1)
        result = np.zeros((batch, self._group, spread, height, width), source.dtype)
        for row, column in np.ndindex(*weights.shape[2:]):
            result += factors[:, :, :, row, column] * windows[:, :, None, :, :, row, column]
        return result.reshape(batch, len(weights), height, width)

    def _convolve(self, source: Whole, weights: Whole) -> Whole:
        """Return one matrix product per group."""
        windows = self._windows(source, weights.shape[2:])
        batch, _, height, width = windows.shape[:4]
        outputs, inputs = len(weights) // self._group, weights.shape[1]
        result: Whole = np.empty((self._group, outputs, batch, height, width), source.dtype)
        for group in range(self._group):
            chosen = windows[:, group * inputs : (group + 1) * inputs]
            factors = weights[group * outputs : (group + 1) * outputs].reshape(outputs, -1)
            # [inputs and taps, batch and pixels]
            columns = chosen.transpose(1, 4, 5, 0, 2, 3).reshape(factors.shape[1], -1)
            result[group] = (factors @ columns).reshape(outputs, batch, height, width)
        return result.reshape(len(weights), batch, height, width).transpose(1, 0, 2, 3)

    def _transposed(self, source: Whole, weights: Whole) -> Whole:
        """Let every input add a scaled kernel to the output; pads cut the result."""
        top, left, bottom, right = self._pads
        batch, _, *size = source.shape
        kernel = weights.shape[2:]
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, self._dilations, strict=True)]
        last = [(n - 1) * s for n, s in zip(size, self._strides, strict=True)]
        end = [
            n + k + e - p
            for n, k, e, p in zip(last, reach, self._extra, (bottom, right), strict=True)
        ]
        whole = [max(n + k, stop) for n, k, stop in zip(last, reach, end, strict=True)]
        result = np.zeros((batch, weights.shape[1], *whole), source.dtype)
        (down, across), (below, beside) = self._strides, self._dilations
        for row, column in np.ndindex(*kernel):
            product = np.einsum("io,bihw->bohw", weights[:, :, row, column], source)
            rows = slice(row * below, row * below + last[0] + 1, down)
            columns = slice(column * beside, column * beside + last[1] + 1, across)
            result[:, :, rows, columns] += product
        return result[:, :, top : end[0], left : end[1]]


def _ints(attributes: Mapping[str, object], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return as_ints(np.atleast_1d(np.asarray(attributes.get(name, default))))


def _sigmoid(value: Reals) -> Reals:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(value, -60.0, 60.0))), np.float64)


def _mean(value: Reals) -> Reals:
    axes = tuple(range(2, value.ndim))
    return np.asarray(value.mean(axis=axes, keepdims=True), np.float64)


UNARY: Final[Mapping[str, Callable[[Reals], Reals]]] = {
    "Clip": lambda value: value,  # its bounds are the rescale's
    "GlobalAveragePool": _mean,
    "Relu": lambda value: value,
    "Sigmoid": _sigmoid,
    "Tanh": np.tanh,
}
"""Functions of real numbers that are computed here in float64."""

BINARY: Final[Mapping[str, Callable[[Reals, Reals], Reals]]] = {
    "Add": np.add,
    "Mul": np.multiply,
    "Sub": np.subtract,
}
