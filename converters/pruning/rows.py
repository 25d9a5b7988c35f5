"""A layer as a matrix product: rows of inputs at chosen output positions."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, as_ints
from converters.graph import Node

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerShape:
    """How a layer reads its input.

    Attributes:
        groups: Independent parts: 1, or a convolution's groups.
        inputs: Numbers that one output of a part sums over.
        outputs: Outputs of one part.
    """

    groups: int
    inputs: int
    outputs: int


def layer_shape(node: Node, weights: Array) -> LayerShape:
    """Return the shape of the matrix product that ``node`` computes."""
    if node.op == "Conv":
        groups = node.attributes.get("group", 1)
        count = groups if isinstance(groups, int) else 1
        return LayerShape(count, int(np.prod(weights.shape[1:])), weights.shape[0] // count)
    rows, columns = weights.shape
    if node.op == "Gemm" and node.attributes.get("transB", 0) == 1:
        return LayerShape(1, columns, rows)
    return LayerShape(1, rows, columns)


def to_matrix(node: Node, weights: Array) -> Doubles:
    """Return the weights as ``(groups, inputs, outputs)``."""
    shape = layer_shape(node, weights)
    if node.op == "Conv":
        rows = weights.astype(np.float64).reshape(shape.groups, shape.outputs, shape.inputs)
        return rows.transpose(0, 2, 1)
    transposed = node.op == "Gemm" and node.attributes.get("transB", 0) == 1
    matrix = weights.astype(np.float64)
    return (matrix.T if transposed else matrix)[None]


def from_matrix(node: Node, matrix: Doubles, like: Array) -> Array:
    """Return ``matrix`` in the form and type of the weights ``like``."""
    if node.op == "Conv":
        return np.ascontiguousarray(matrix.transpose(0, 2, 1).reshape(like.shape), like.dtype)
    transposed = node.op == "Gemm" and node.attributes.get("transB", 0) == 1
    return np.ascontiguousarray(matrix[0].T if transposed else matrix[0], like.dtype)


def input_rows(
    node: Node, source: Array, shape: LayerShape, picks: npt.NDArray[np.int64]
) -> Doubles:
    """Return what the layer multiplies at output positions ``picks``.

    Args:
        node: ``Conv``, ``Gemm`` or ``MatMul`` in canonical form.
        source: The layer's input, one sample.
        shape: Result of ``layer_shape``.
        picks: Numbers of output positions, counted row by row without the channel axis.

    Returns:
        ``(positions, groups, inputs)``.
    """
    if node.op != "Conv":
        return source.reshape(-1, shape.inputs)[picks].astype(np.float64)[:, None]
    windows = _windows(node, source)
    spatial = (windows.ndim - 2) // 2
    places = (windows.shape[0], *windows.shape[2 : 2 + spatial])
    chosen = np.unravel_index(picks, places)
    moved = np.moveaxis(windows, 1, 1 + spatial)  # batch, places, channel, kernel
    return moved[chosen].astype(np.float64).reshape(len(picks), shape.groups, shape.inputs)


def _windows(node: Node, source: Array) -> Array:
    """Return a view ``(batch, channels, *output, *kernel)`` of the padded input."""
    kernel, strides, dilations, pads = (
        as_ints(np.asarray(node.attributes[name]))
        for name in ("kernel_shape", "strides", "dilations", "pads")
    )
    rank = len(kernel)
    around = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    padded = np.pad(source, around)
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, spans, tuple(range(2, 2 + rank)))
    steps = [slice(None, None, stride) for stride in strides]
    holes = [slice(None, None, dilation) for dilation in dilations]
    return view[(slice(None), slice(None), *steps, *holes)]


def output_rows(
    node: Node, result: Array, shape: LayerShape, picks: npt.NDArray[np.int64]
) -> Doubles:
    """Return a layer's results at ``picks`` as ``(positions, groups, outputs)``."""
    rows = np.moveaxis(result, 1, -1) if node.op == "Conv" else result
    width = rows.shape[-1]
    chosen = rows.reshape(-1, width)[picks].astype(np.float64)
    return chosen.reshape(len(picks), shape.groups, shape.outputs)


def positions(node: Node, shape: tuple[int, ...]) -> int:
    """Return how many output positions a result of ``shape`` has."""
    channel = 1 if node.op == "Conv" else len(shape) - 1
    return int(np.prod([size for axis, size in enumerate(shape) if axis != channel]))
