"""Transposed convolutions: TFLite's output size decides the padding, ONNX's pads cut."""

import numpy as np

from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.layout import IMAGE_RANK, NHWC, Value
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.ops_layers import store_bias, store_weights
from converters.tflite.schema import Option
from converters.tflite.windows import Window, pair, window_of

_WITH_BIAS = 3
"""Version of TRANSPOSE_CONV that takes a bias."""


def lower_conv_transpose(lowering: Lowering, node: Node) -> None:
    """Write ConvTranspose of images with one group and without dilation."""
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
        extra = pair(node, "output_padding", attributes.integers("output_padding", (0, 0)))
        attributes.only("auto_pad", "NOTSET")
    if group != 1:
        raise node.refuse(f"{group} groups: only one is supported", SUGGESTION)
    if window.dilation != (1, 1):
        raise node.refuse("dilated transposed convolutions are not supported", SUGGESTION)
    if any(e >= s for e, s in zip(extra, window.stride, strict=True)) or min(extra) < 0:
        raise node.refuse(f"output_padding={extra} is not smaller than the stride")
    source = lowering.read(node, 0, NHWC)
    shape = lowering.graph.shape(node.outputs[0])
    if shape[2:] != _output_size(window, source, extra):
        raise node.refuse(f"its output has the size {shape[2:]}, which its pads do not explain")
    # [inputs, outputs, height, width] -> [outputs, height, width, inputs]
    weight = store_weights(lowering, node, weights.transpose(1, 2, 3, 0), 0, hybrid=False)
    bias = store_bias(lowering, node, weights.shape[1])
    result = lowering.named(node, node.outputs[0], NHWC)
    if _is_same(window, source, result):
        _emit(lowering, (source, weight, bias), result, window, "SAME")
        return
    # What VALID computes is everything; past its end only the bias would stand.
    last = [
        max(extra[i] - window.pads_after[i], 0) + (source.shape[2 + i] - 1) * window.stride[i]
        for i in (0, 1)
    ]
    whole = tuple(size + k for size, k in zip(last, window.kernel, strict=True))
    if whole == shape[2:] and not any(window.pads_before):
        _emit(lowering, (source, weight, bias), result, window, "VALID")
        return
    full = lowering.temporary((*shape[:2], *whole), NHWC, grid=result.grid)
    _emit(lowering, (source, weight, bias), full, window, "VALID")
    begin = np.asarray([0, *window.pads_before, 0], np.int32)
    size = np.asarray(result.stored_shape, np.int32)
    bounds = [lowering.raw_constant("begin", begin), lowering.raw_constant("size", size)]
    lowering.emit("SLICE", [full.tensor, *bounds], result, ("SliceOptions", {}))


def _output_size(window: Window, source: Value, extra: tuple[int, int]) -> tuple[int, ...]:
    return tuple(
        (source.shape[2 + i] - 1) * window.stride[i]
        + window.kernel[i]
        + extra[i]
        - window.pads_before[i]
        - window.pads_after[i]
        for i in (0, 1)
    )


def _is_same(window: Window, source: Value, result: Value) -> bool:
    """Whether TFLite's SAME, worked out from the output's size, cuts what ONNX's pads cut."""
    for i in (0, 1):
        size, wanted, stride = source.shape[2 + i], result.shape[2 + i], window.stride[i]
        total = (size - 1) * stride + window.kernel[i] - wanted
        if -(-wanted // stride) != size or total < 0 or window.pads_before[i] != total // 2:
            return False
    return True


def _emit(
    lowering: Lowering, inputs: tuple[Value, int, int], result: Value, window: Window, padding: str
) -> None:
    source, weight, bias = inputs
    size = lowering.raw_constant("size", np.asarray(result.stored_shape, np.int32))
    fields: dict[str, Option] = {
        "padding": padding,
        "strideH": window.stride[0],
        "strideW": window.stride[1],
    }
    lowering.emit(
        "TRANSPOSE_CONV",
        [size, weight, source.tensor, bias],
        result,
        ("TransposeConvOptions", fields),
        version=_WITH_BIAS,
    )
