"""Pools and reductions over axes."""

from typing import Final

import numpy as np

from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.layout import IMAGE_RANK, NHWC, Value
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.ops_shape import pad_image
from converters.tflite.windows import Window, window_of

LOWEST: Final = float(np.finfo(np.float32).min)


def lower_max_pool(lowering: Lowering, node: Node) -> None:
    """Write MaxPool; explicit pads are filled with the lowest number there is."""
    if any(node.outputs[1:]):
        raise node.refuse("indices of the maxima are not supported", SUGGESTION)
    window = _pool_window(lowering, node)
    source = lowering.read(node, 0, NHWC)
    padding = "VALID"
    if window.is_padded:
        if window.is_same((source.shape[2], source.shape[3])):
            padding = "SAME"
        else:
            source = pad_image(
                lowering, source, window.pads_before, window.pads_after, value=LOWEST
            )
    _emit_pool(lowering, node, source, window, code="MAX_POOL_2D", padding=padding)


def lower_average_pool(lowering: Lowering, node: Node) -> None:
    """Write AveragePool.

    TFLite's SAME leaves padded pixels out of the mean; padding by hand counts them. Either
    is used where it means what the model says, everything else is refused.
    """
    counts_pads = node.attributes.get("count_include_pad", 0) == 1
    window = _pool_window(lowering, node)
    source = lowering.read(node, 0, NHWC)
    padding = "VALID"
    if window.is_padded:
        if counts_pads:
            source = pad_image(lowering, source, window.pads_before, window.pads_after)
        elif window.is_same((source.shape[2], source.shape[3])):
            padding = "SAME"
        else:
            raise node.refuse("uneven pads that do not count towards the mean", SUGGESTION)
    _emit_pool(lowering, node, source, window, code="AVERAGE_POOL_2D", padding=padding)


def _pool_window(lowering: Lowering, node: Node) -> Window:
    shape = lowering.graph.shape(node.inputs[0])
    if len(shape) != IMAGE_RANK:
        raise node.refuse("only two-dimensional pools are supported", SUGGESTION)
    with AttributeReader(node) as attributes:
        window = window_of(
            node,
            attributes.integers("kernel_shape", ()),
            attributes.integers("strides", (1, 1)),
            attributes.integers("dilations", (1, 1)),
            attributes.integers("pads", (0, 0, 0, 0)),
        )
        attributes.only("auto_pad", "NOTSET")
        attributes.only("count_include_pad", 0, 1)
        attributes.only("storage_order", 0)
        # Rounding up is fine where it changes nothing, as the shape below tells.
        attributes.only("ceil_mode", 0, 1)
    if window.dilation != (1, 1):
        raise node.refuse("dilated pools are not supported", SUGGESTION)
    if window.output((shape[2], shape[3])) != lowering.graph.shape(node.outputs[0])[2:]:
        raise node.refuse("its output size is rounded up", "export with ceil_mode=False")
    return window


def _emit_pool(
    lowering: Lowering, node: Node, source: Value, window: Window, *, code: str, padding: str
) -> None:
    result = lowering.named(node, node.outputs[0], NHWC)
    lowering.emit(
        code,
        [source.tensor],
        result,
        (
            "Pool2DOptions",
            {
                "padding": padding,
                "strideH": window.stride[0],
                "strideW": window.stride[1],
                "filterHeight": window.kernel[0],
                "filterWidth": window.kernel[1],
                "fusedActivationFunction": "NONE",
            },
        ),
    )
