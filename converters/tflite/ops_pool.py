"""Pools over windows of an image."""

import itertools
from typing import Final

import numpy as np

from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import binary
from converters.tflite.layout import IMAGE_RANK, NHWC, Value
from converters.tflite.lowering import FLOAT32, SUGGESTION, Lowering
from converters.tflite.ops_shape import pad_image
from converters.tflite.windows import Window, window_of

LOWEST: Final = float(np.finfo(np.float32).min)

MAX_TAPS: Final = 64
"""A dilated pool is written tap by tap; more would make a slow file."""


def lower_max_pool(lowering: Lowering, node: Node) -> None:
    """Write MaxPool; explicit pads are filled with the lowest number there is.

    A dilated pool is the maximum of as many strided slices as its window has elements.
    """
    if any(node.outputs[1:]):
        raise node.refuse("indices of the maxima are not supported", SUGGESTION)
    source, window, output = _pool(lowering, node)
    size = (source.shape[2], source.shape[3])
    window = window.reaching(size, output)
    padding = "VALID"
    if window.is_padded:
        if window.dilation == (1, 1) and window.is_same(size):
            padding = "SAME"
        else:
            source = pad_image(
                lowering, source, window.pads_before, window.pads_after, value=LOWEST
            )
    if window.dilation == (1, 1):
        result = lowering.named(node, node.outputs[0], NHWC)
        _emit_pool(lowering, source, result, window, code="MAX_POOL_2D", padding=padding)
        return
    if source.grid is not None:
        raise node.refuse("a dilated pool has no integer form", SUGGESTION)
    _finish(lowering, node, _over_taps(lowering, node, source, window, output, code="MAXIMUM"))


def lower_average_pool(lowering: Lowering, node: Node) -> None:
    """Write AveragePool.

    TFLite's SAME leaves padded pixels out of the mean; padding by hand counts them. Where
    neither is what the model says, the mean with all pads is corrected by a constant.
    """
    source, window, output = _pool(lowering, node)
    size = (source.shape[2], source.shape[3])
    counts_pads = node.attributes.get("count_include_pad", 0) == 1
    counts = window.counts(size, output, with_pads=counts_pads)
    if np.any(counts == 0):
        raise node.refuse("a window lies in the pads alone", SUGGESTION)
    taps = window.kernel[0] * window.kernel[1]
    reaching = window.reaching(size, output)
    if window.dilation == (1, 1):
        even = np.all(counts == taps)
        if (not counts_pads and reaching.is_same(size)) or (even and not reaching.is_padded):
            padding = "SAME" if reaching.is_padded else "VALID"
            result = lowering.named(node, node.outputs[0], NHWC)
            _emit_pool(lowering, source, result, reaching, code="AVERAGE_POOL_2D", padding=padding)
            return
        if even:
            padded = pad_image(lowering, source, reaching.pads_before, reaching.pads_after)
            result = lowering.named(node, node.outputs[0], NHWC)
            _emit_pool(lowering, padded, result, reaching, code="AVERAGE_POOL_2D", padding="VALID")
            return
    source = lowering.read_on(node, 0, NHWC, None)
    if reaching.is_padded:
        source = pad_image(lowering, source, reaching.pads_before, reaching.pads_after)
    if window.dilation == (1, 1):
        shape = (*source.shape[:2], *output)
        mean = lowering.temporary(shape, NHWC)
        _emit_pool(lowering, source, mean, reaching, code="AVERAGE_POOL_2D", padding="VALID")
        factor = (taps / counts)[None, None]
    else:
        mean = _over_taps(lowering, node, source, reaching, output, code="ADD")
        factor = (1 / counts)[None, None]
    _finish(lowering, node, binary(lowering, "MUL", mean, factor))


def _finish(lowering: Lowering, node: Node, value: Value) -> None:
    """Let ``value``, which is float, be the output of ``node``."""
    result = lowering.named(node, node.outputs[0], NHWC)
    if result.grid is None:
        lowering.emit_reshape(value, result)
    else:
        lowering.emit("QUANTIZE", [value.tensor], result, ("QuantizeOptions", {}), version=1)


def _pool(lowering: Lowering, node: Node) -> tuple[Value, Window, tuple[int, int]]:
    """Return the input in NHWC, the window, and the output's height and width."""
    shape = lowering.graph.shape(node.inputs[0])
    if len(shape) != IMAGE_RANK:
        raise node.refuse("only one- and two-dimensional pools are supported", SUGGESTION)
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
        attributes.only("ceil_mode", 0, 1)  # which shows in the output's shape
    if lowering.graph.dtype(node.inputs[0]) != FLOAT32:
        raise node.refuse("only float32 is supported", SUGGESTION)
    height, width = lowering.graph.shape(node.outputs[0])[2:]
    starts = ((height - 1) * window.stride[0], (width - 1) * window.stride[1])
    if any(start >= window.pads_before[i] + shape[2 + i] for i, start in enumerate(starts)):
        # Shape inference counts such a window, runtimes do not.
        raise node.refuse("its last window starts in the pads", "export with ceil_mode=False")
    if node.attributes.get("ceil_mode", 0) == 0 and window.output((shape[2], shape[3])) != (
        height,
        width,
    ):
        raise node.refuse("its window is larger than the padded image", SUGGESTION)
    return lowering.read(node, 0, NHWC), window, (height, width)


def _over_taps(
    lowering: Lowering,
    node: Node,
    source: Value,
    window: Window,
    output: tuple[int, int],
    *,
    code: str,
) -> Value:
    """Return ``code`` over one strided slice of ``source`` per element of the window."""
    if window.kernel[0] * window.kernel[1] > MAX_TAPS:
        raise node.refuse(f"a dilated window of {window.kernel} is too large", SUGGESTION)
    total: Value | None = None
    for place in itertools.product(range(window.kernel[0]), range(window.kernel[1])):
        begin = [p * d for p, d in zip(place, window.dilation, strict=True)]
        end = [b + (o - 1) * s + 1 for b, o, s in zip(begin, output, window.stride, strict=True)]
        part = lowering.temporary((*source.shape[:2], *output), NHWC, source.dtype)
        numbers = (
            [0, *begin, 0],
            [source.shape[0], *end, source.shape[1]],
            [1, *window.stride, 1],
        )
        inputs = [lowering.raw_constant("bound", np.asarray(n, np.int32)) for n in numbers]
        options = ("StridedSliceOptions", {"beginMask": 0, "endMask": 0})
        lowering.emit("STRIDED_SLICE", [source.tensor, *inputs], part, options)
        total = part if total is None else binary(lowering, code, total, part)
    if total is None:
        raise node.refuse("its window is empty", "the model is damaged")
    return total


def _emit_pool(
    lowering: Lowering, source: Value, result: Value, window: Window, *, code: str, padding: str
) -> None:
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
