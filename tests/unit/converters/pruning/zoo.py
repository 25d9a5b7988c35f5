"""Small nets, one for every way in which channels are wired together."""

from collections.abc import Callable

import numpy as np

from converters.graph import Graph
from tests.unit.converters.pruning.nets import NetBuilder


def head(b: NetBuilder, source: str, width: int) -> Graph:
    pooled = b.add("Flatten", b.add("GlobalAveragePool", source), axis=1)
    b.dense(pooled, width, 3, "y")
    return b.graph({"y": [1, 3]})


def residual() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    stem = b.add("Relu", b.conv("x", 3, 8))
    branch = b.conv(b.add("Relu", b.conv(stem, 8, 6)), 6, 8)
    return head(b, b.add("Relu", b.add("Add", f"{stem} {branch}")), 8)


def depthwise() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    stem = b.add("Relu", b.conv("x", 3, 6))
    doubled = b.conv(stem, 6, 12, group=6)  # two outputs per channel
    return head(b, b.add("HardSwish", b.conv(doubled, 12, 5, kernel=1)), 5)


def concat() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    left, right = b.conv("x", 3, 4), b.add("Sigmoid", b.conv("x", 3, 6))
    joined = b.add("Concat", f"{left} {right}", axis=1)
    return head(b, b.conv(joined, 10, 4), 4)


def gate() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    body = b.add("Relu", b.conv("x", 3, 8))
    squeezed = b.add("Relu", b.conv(b.add("GlobalAveragePool", body), 8, 4, kernel=1))
    weight = b.add("Sigmoid", b.conv(squeezed, 4, 8, kernel=1))
    return head(b, b.add("Mul", f"{body} {weight}"), 8)


def flatten() -> Graph:
    b = NetBuilder(1, 2, 4, 4)
    pooled = b.add("MaxPool", b.conv("x", 2, 6), kernel_shape=[2, 2], strides=[2, 2])
    hidden = b.add("Relu", b.dense(b.add("Flatten", pooled, axis=1), 24, 10))
    b.dense(hidden, 10, 3, "y")
    return b.graph({"y": [1, 3]})


def reshaped() -> Graph:
    b = NetBuilder(1, 2, 4, 4)
    shape = b.constant(np.asarray([1, -1], np.int64))
    flat = b.add("Reshape", f"{b.conv('x', 2, 6)} {shape}")
    b.dense(flat, 96, 3, "y")
    return b.graph({"y": [1, 3]})


def shuffled() -> Graph:
    """Two groups of convolutions with the channel shuffle of ShuffleNet between them."""
    b = NetBuilder(1, 3, 6, 6)
    first = b.add("Relu", b.conv(b.conv("x", 3, 8), 8, 12, group=2))
    parts = b.add("Reshape", f"{first} {b.constant(np.asarray([1, 2, 6, 6, 6], np.int64))}")
    swapped = b.add("Transpose", parts, perm=[0, 2, 1, 3, 4])
    mixed = b.add("Reshape", f"{swapped} {b.constant(np.asarray([1, 12, 6, 6], np.int64))}")
    return head(b, b.conv(mixed, 12, 8, group=2), 8)


def split() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    sizes = b.constant(np.asarray([4, 6], np.int64))
    b.add("Split", f"{b.conv('x', 3, 10)} {sizes}", "left right", axis=1)
    rest = b.conv("right", 6, 4)
    return head(b, b.add("Sub", f"left {rest}"), 4)


def sliced() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    body = b.conv("x", 3, 10)
    one = b.constant(np.asarray([1], np.int64))
    cut = b.constant(np.asarray([4], np.int64))
    end = b.constant(np.asarray([2**31], np.int64))
    start = b.constant(np.asarray([0], np.int64))
    first = b.add("Slice", f"{body} {start} {cut} {one}")
    second = b.add("Slice", f"{body} {cut} {end} {one}")
    return head(b, b.add("Add", f"{first} {b.conv(second, 6, 4)}"), 4)


def gathered() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    order = b.constant(np.asarray([3, 1, 5, 0, 2, 4], np.int64))
    picked = b.add("Gather", f"{b.conv('x', 3, 6)} {order}", axis=1)
    return head(b, b.conv(picked, 6, 4), 4)


def upsampled() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    sizes = b.constant(np.asarray([1, 6, 12, 12], np.int64))
    weights, bias = b.random(6, 4, 2, 2), b.random(4)
    small = b.add("Resize", f"{b.conv('x', 3, 6)}   {sizes}", mode="nearest")
    up = b.add("ConvTranspose", f"{small} {weights} {bias}", strides=[2, 2], kernel_shape=[2, 2])
    return head(b, up, 4)


def padded() -> Graph:
    """The shortcut of early residual nets: new channels are zeros, and stay."""
    b = NetBuilder(1, 3, 6, 6)
    stem = b.conv("x", 3, 4)
    wide = b.add("Pad", f"{stem} {b.constant(np.asarray([0, 2, 0, 0, 0, 2, 0, 0], np.int64))}")
    return head(b, b.add("Add", f"{wide} {b.conv(stem, 4, 8)}"), 8)


def parametric() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    bent = b.add("PRelu", f"{b.conv('x', 3, 6)} {b.random(6, 1, 1)}")
    scaled = b.add("Mul", f"{bent} {b.random(1, 6, 1, 1)}")
    normal = b.add("InstanceNormalization", f"{scaled} {b.random(6)} {b.random(6)}")
    return head(b, normal, 6)


def sequence() -> Graph:
    """Channels last, as a dense layer sees a sequence."""
    b = NetBuilder(1, 5, 6)
    hidden = b.add("Add", f"{b.add('MatMul', f'x {b.random(6, 8)}')} {b.random(8)}")
    moved = b.add("Transpose", b.add("Relu", hidden), perm=[0, 2, 1])
    mean = b.add("ReduceMean", moved, axes=[2], keepdims=0)
    b.dense(mean, 8, 3, "y")
    return b.graph({"y": [1, 3]})


def averaged() -> Graph:
    """A mean over the channels: they may not go, those before them may."""
    b = NetBuilder(1, 3, 6, 6)
    body = b.conv(b.add("Relu", b.conv("x", 3, 6)), 6, 8)
    mean = b.add("ReduceMean", body, axes=[1], keepdims=1)
    return head(b, b.conv(mean, 1, 4), 4)


def skip_from_input() -> Graph:
    """The input has channels of its own that stay, so what is added to it stays too."""
    b = NetBuilder(1, 8, 6, 6)
    body = b.conv(b.add("Relu", b.conv("x", 8, 6)), 6, 8)
    return head(b, b.conv(b.add("Add", f"{body} x"), 8, 4), 4)


def shared_scale() -> Graph:
    """One constant scales channels that may go and the input's, which may not."""
    b = NetBuilder(1, 8, 6, 6)
    scale = b.random(1, 8, 1, 1)
    bent = b.add("Relu", b.conv(b.conv("x", 8, 6), 6, 8))  # else importing folds the scale
    body = b.add("Mul", f"{bent} {scale}")
    joined = b.add("Concat", f"{body} {b.add('Mul', f'x {scale}')}", axis=1)
    return head(b, b.conv(joined, 16, 4), 4)


def resized_channels() -> Graph:
    b = NetBuilder(1, 3, 6, 6)
    body = b.conv(b.add("Relu", b.conv("x", 3, 6)), 6, 4)
    more = b.add("Resize", f"{body}   {b.constant(np.asarray([1, 8, 6, 6], np.int64))}")
    return head(b, b.conv(more, 8, 4), 4)


def strided() -> Graph:
    """Every other channel: which these are depends on how many there are."""
    b = NetBuilder(1, 3, 6, 6)
    body = b.conv(b.add("Relu", b.conv("x", 3, 6)), 6, 8)
    lists = [b.constant(np.asarray([n], np.int64)) for n in (0, 8, 1, 2)]
    return head(b, b.conv(b.add("Slice", f"{body} {' '.join(lists)}"), 4, 4), 4)


def turned() -> Graph:
    """A convolution that takes image rows for channels."""
    b = NetBuilder(1, 3, 6, 6)
    body = b.conv(b.add("Relu", b.conv("x", 3, 4)), 4, 8)
    rows = b.add("Transpose", body, perm=[0, 2, 1, 3])
    return head(b, b.conv(rows, 6, 4), 4)


NETS: dict[str, Callable[[], Graph]] = {
    made.__name__: made
    for made in (
        residual, depthwise, concat, gate, flatten, reshaped, shuffled, split, sliced, gathered,
        upsampled, padded, parametric, sequence, averaged, skip_from_input, shared_scale,
        resized_channels, strided, turned,
    )
}  # fmt: skip
