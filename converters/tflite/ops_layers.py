"""Layers with weights: convolutions and dense layers."""

import numpy as np

from converters.arrays import Array
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.quant.plan import Grid
from converters.quant.weights import bias_grid, weight_grid
from converters.tflite.flattening import reordered_columns
from converters.tflite.layout import IMAGE_RANK, NHWC, Value, identity
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.ops_shape import pad_image
from converters.tflite.schema import Option
from converters.tflite.windows import Window, window_of

_MATRIX_RANK = 2
_GROUPED_VERSION = 6


def lower_conv(lowering: Lowering, node: Node) -> None:
    """Write Conv as CONV_2D, or as DEPTHWISE_CONV_2D where every channel is a group."""
    if len(lowering.graph.shape(node.inputs[0])) != IMAGE_RANK:
        raise node.refuse("only two-dimensional convolutions are supported", SUGGESTION)
    weights = lowering.constant(node, 1)
    with AttributeReader(node) as attributes:
        group = attributes.integer("group", 1)
        window = window_of(
            node,
            attributes.integers("kernel_shape", weights.shape[2:]),
            attributes.integers("strides", (1, 1)),
            attributes.integers("dilations", (1, 1)),
            attributes.integers("pads", (0, 0, 0, 0)),
        )
        attributes.only("auto_pad", "NOTSET")
    channels = lowering.graph.shape(node.inputs[0])[1]
    depthwise = group == channels and weights.shape[1] == 1 and group > 1
    source, padding = _padded(lowering, lowering.read(node, 0, NHWC), window)
    if depthwise:
        # [outputs, 1, height, width] -> [1, height, width, outputs]
        code, order, channel_axis = "DEPTHWISE_CONV_2D", (1, 2, 3, 0), 3
    else:
        # [outputs, inputs, height, width] -> [outputs, height, width, inputs]
        code, order, channel_axis = "CONV_2D", (0, 2, 3, 1), 0
    stored = weights.transpose(order)
    # Hybrid kernels know no groups.
    weight = store_weights(lowering, node, stored, channel_axis, hybrid=group == 1)
    bias = store_bias(lowering, node, weights.shape[0])
    result, activation = lowering.result(node, NHWC)
    fields: dict[str, Option] = {
        "padding": padding,
        "strideH": window.stride[0],
        "strideW": window.stride[1],
        "dilationHFactor": window.dilation[0],
        "dilationWFactor": window.dilation[1],
        "fusedActivationFunction": activation,
    }
    if depthwise:
        fields["depthMultiplier"] = weights.shape[0] // channels
    lowering.emit(
        code,
        [source.tensor, weight, bias],
        result,
        ("DepthwiseConv2DOptions" if depthwise else "Conv2DOptions", fields),
        version=_version(window, result, depthwise=depthwise, grouped=group != 1),
    )


def _version(window: Window, result: Value, *, depthwise: bool, grouped: bool) -> int | None:
    """Return the version that knows groups, or dilation of float depthwise layers."""
    if grouped and not depthwise:
        return _GROUPED_VERSION
    # Dilation came to float DEPTHWISE_CONV_2D with version 2; int8 (3) includes it.
    return 2 if depthwise and window.dilation != (1, 1) and result.grid is None else None


def _padded(lowering: Lowering, source: Value, window: Window) -> tuple[Value, str]:
    size = (source.shape[2], source.shape[3])
    if not window.is_padded:
        return source, "VALID"
    if window.is_same(size):
        return source, "SAME"
    return pad_image(lowering, source, window.pads_before, window.pads_after), "VALID"


def store_weights(
    lowering: Lowering, node: Node, stored: Array, channel_axis: int, *, hybrid: bool = True
) -> int:
    """Store weights in the form that the file asks for and return their index.

    Args:
        lowering: The lowering that goes on.
        node: The layer; its input 1 are the weights.
        stored: The weights in TFLite's order.
        channel_axis: The axis of ``stored`` that counts outputs.
        hybrid: Whether the layer's kernel takes int8 weights with float activations.
    """
    name = node.inputs[1]
    floats = np.ascontiguousarray(stored).astype(np.float32)
    if lowering.is_integer(node):
        planned = lowering.grid(name)
        grid = Grid(
            scale=planned.scale,
            zero_point=planned.zero_point,
            axis=None if planned.axis is None else channel_axis,
            symmetric=True,
        )
        return lowering.raw_constant(name, grid.quantize(stored), grid)
    if lowering.weights == "float16" or lowering.halves(floats):
        return lowering.half_constant(name, floats)
    if hybrid and _is_hybrid(lowering, node, channel_axis):
        # tflite-runtime 2.14 answers zeros where a hybrid dense layer has a scale per row.
        axis = None if floats.ndim == _MATRIX_RANK else channel_axis
        return lowering.hybrid_constant(node, floats, weight_grid(floats, None, 1.0, axis))
    return lowering.raw_constant(name, floats)


def _is_hybrid(lowering: Lowering, node: Node, channel_axis: int) -> bool:
    """Whether a layer gets int8 weights with float activations.

    Depthwise layers do not: their hybrid kernel is several times slower than the float one.
    """
    return (
        lowering.weights == "dynamic-int8" and not lowering.is_integer(node) and channel_axis == 0
    )


def store_bias(lowering: Lowering, node: Node, channels: int) -> int:
    """Store the bias of a layer with ``channels`` outputs, or zeros, and return its index."""
    name = node.optional_input(2)
    if not name:
        return _zero_bias(lowering, node, channels)
    values = lowering.constant(node, 2)
    if values.shape != (channels,):
        raise node.refuse(f"its bias has the shape {values.shape}, not ({channels},)")
    if not lowering.is_integer(node):
        return lowering.raw_constant(name, values.astype(np.float32))
    grid = lowering.grid(name)
    return lowering.raw_constant(name, grid.quantize(values), grid)


def _zero_bias(lowering: Lowering, node: Node, channels: int) -> int:
    zeros = np.zeros(channels, np.float32)
    if not lowering.is_integer(node):
        return lowering.raw_constant(f"{node.name}_bias", zeros)
    source = lowering.grid(node.inputs[0])
    grid = bias_grid(
        lowering.grid(node.inputs[1]),
        source.scale[0],
        "int64" if source.dtype == "int16" else "int32",
    )
    return lowering.raw_constant(f"{node.name}_bias", grid.quantize(zeros), grid)


def lower_gemm(lowering: Lowering, node: Node) -> None:
    """Write a dense layer ``x W' + b`` as FULLY_CONNECTED."""
    with AttributeReader(node) as attributes:
        attributes.only("transB", 1)
        attributes.only("transA", 0)
        attributes.only("alpha", 1.0)
        attributes.only("beta", 1.0)
    weights = lowering.constant(node, 1)
    if node.attributes.get("transB", 0) != 1 or weights.ndim != _MATRIX_RANK:
        raise node.refuse("its weights are not constant rows, one per output", SUGGESTION)
    image = lowering.read_unflattened(node)
    if image is None:
        source = lowering.read(node, 0, identity(2))
    else:
        weights = reordered_columns(weights, image)
        shape = lowering.graph.shape(node.inputs[0])
        source = lowering.temporary(shape, identity(2), image.dtype, image.grid)
        lowering.emit_reshape(image, source)
    weight = store_weights(lowering, node, weights, 0)
    bias = store_bias(lowering, node, weights.shape[0])
    result, activation = lowering.result(node, identity(2))
    _fully_connected(lowering, [source.tensor, weight, bias], result, activation, keep=False)


def lower_matmul(lowering: Lowering, node: Node) -> None:
    """Write a product with constant weights as FULLY_CONNECTED, others as BATCH_MATMUL."""
    with AttributeReader(node):
        pass  # MatMul has no attributes
    rank = len(lowering.graph.shape(node.inputs[0]))
    second = lowering.graph.shape(node.inputs[1])
    if (
        lowering.is_constant(node.inputs[1])
        and len(second) == _MATRIX_RANK
        and rank >= _MATRIX_RANK
    ):
        weights = lowering.constant(node, 1)
        source = lowering.read(node, 0, identity(rank))
        weight = store_weights(lowering, node, weights.T, 0)
        result, activation = lowering.result(node, identity(rank))
        _fully_connected(lowering, [source.tensor, weight, -1], result, activation, keep=True)
        return
    if rank != len(second) or not _MATRIX_RANK <= rank <= IMAGE_RANK:
        raise node.refuse("its factors have different numbers of axes", SUGGESTION)
    first, other = (lowering.read(node, i, identity(rank)) for i in (0, 1))
    result = lowering.named(node, node.outputs[0], identity(rank))
    lowering.emit(
        "BATCH_MATMUL",
        [first.tensor, other.tensor],
        result,
        ("BatchMatMulOptions", {"adjX": False, "adjY": False}),
    )


def _fully_connected(
    lowering: Lowering, inputs: list[int], result: Value, activation: str, *, keep: bool
) -> None:
    lowering.emit(
        "FULLY_CONNECTED",
        inputs,
        result,
        ("FullyConnectedOptions", {"fusedActivationFunction": activation, "keepNumDims": keep}),
        version=5 if keep and result.grid is None else None,
    )
