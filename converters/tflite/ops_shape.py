"""Operators that move, cut or enlarge tensors without arithmetic."""

import numpy as np

from converters.arrays import as_ints
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.layout import Value, identity, transposed
from converters.tflite.lowering import SUGGESTION, Lowering


def lower_reshape(lowering: Lowering, node: Node) -> None:
    """Write Reshape, Flatten, Squeeze and Unsqueeze; the target shape is inferred already."""
    with AttributeReader(node) as attributes:
        attributes.ignore("axis", "axes")  # both show in the output's shape
        attributes.only("allowzero", 0, 1)
    source = lowering.read_flat(node)
    result = lowering.named(
        node, node.outputs[0], identity(len(lowering.graph.shape(node.outputs[0])))
    )
    lowering.emit_reshape(source, result)


def lower_transpose(lowering: Lowering, node: Node) -> None:
    """Take note of another layout; nothing moves until somebody needs it to."""
    source = lowering.read(node)
    with AttributeReader(node) as attributes:
        order = attributes.integers("perm", tuple(reversed(range(len(source.shape)))))
    if sorted(order) != list(range(len(source.shape))):
        raise node.refuse(f"perm={order} is no order of {len(source.shape)} axes")
    moved = Value(
        tensor=source.tensor,
        shape=tuple(source.shape[axis] for axis in order),
        perm=transposed(source.perm, order),
        dtype=source.dtype,
        grid=source.grid,
    )
    lowering.alias(node.outputs[0], moved)


def lower_identity(lowering: Lowering, node: Node) -> None:
    """Let the output be the input."""
    with AttributeReader(node):
        pass
    lowering.alias(node.outputs[0], lowering.read(node))


def lower_concat(lowering: Lowering, node: Node) -> None:
    """Write Concat; integer inputs are brought to the output's grid first."""
    rank = len(lowering.graph.shape(node.outputs[0]))
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", 0) % rank
    moving = [name for name in node.inputs if not lowering.is_constant(name)]
    perm = lowering.layout_of(moving[0]) if moving else identity(rank)
    grid = lowering.grid(node.outputs[0]) if lowering.is_integer(node) else None
    values = [lowering.read_on(node, i, perm, grid) for i in range(len(node.inputs))]
    result = lowering.named(node, node.outputs[0], perm)
    lowering.emit(
        "CONCATENATION",
        [value.tensor for value in values],
        result,
        (
            "ConcatenationOptions",
            {"axis": result.stored_axis(axis), "fusedActivationFunction": "NONE"},
        ),
    )


def lower_slice(lowering: Lowering, node: Node) -> None:
    """Write Slice with constant bounds as SLICE or, with steps, STRIDED_SLICE."""
    with AttributeReader(node):
        pass  # operator sets below 10 had attributes; import lifts them
    source = lowering.read(node)
    rank = len(source.shape)
    starts, ends = as_ints(lowering.constant(node, 1)), as_ints(lowering.constant(node, 2))
    axes = tuple(range(len(starts)))
    steps = (1,) * len(starts)
    if node.optional_input(3):
        axes = tuple(axis % rank for axis in as_ints(lowering.constant(node, 3)))
    if node.optional_input(4):
        steps = as_ints(lowering.constant(node, 4))
    if min(steps, default=1) < 1:
        raise node.refuse("negative steps are not supported", SUGGESTION)
    begin, stride = [0] * rank, [1] * rank
    end = list(source.shape)
    for axis, start, stop, step in zip(axes, starts, ends, steps, strict=True):
        begin[axis], end[axis], _ = slice(start, stop).indices(source.shape[axis])
        stride[axis] = step
    _emit_slice(lowering, node, 0, source, (begin, end, stride))


def _emit_slice(
    lowering: Lowering,
    node: Node,
    output: int,
    source: Value,
    bounds: tuple[list[int], list[int], list[int]],
) -> None:
    begin, end, stride = (
        np.asarray([values[axis] for axis in source.perm], np.int32) for values in bounds
    )
    result = lowering.named(node, node.outputs[output], source.perm)
    if np.all(stride == 1):
        size = (end - begin).astype(np.int32)
        inputs = [lowering.raw_constant("begin", begin), lowering.raw_constant("size", size)]
        lowering.emit("SLICE", [source.tensor, *inputs], result, ("SliceOptions", {}))
        return
    inputs = [
        lowering.raw_constant(n, v) for n, v in (("begin", begin), ("end", end), ("step", stride))
    ]
    lowering.emit(
        "STRIDED_SLICE",
        [source.tensor, *inputs],
        result,
        ("StridedSliceOptions", {"beginMask": 0, "endMask": 0}),
    )


def lower_split(lowering: Lowering, node: Node) -> None:
    """Write Split as one SLICE per part; the parts' sizes are inferred already."""
    source = lowering.read(node)
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", 0) % len(source.shape)
        attributes.ignore("split", "num_outputs")
    start = 0
    for index, name in enumerate(node.outputs):
        size = lowering.graph.shape(name)[axis]
        begin, end = [0] * len(source.shape), list(source.shape)
        begin[axis], end[axis] = start, start + size
        _emit_slice(lowering, node, index, source, (begin, end, [1] * len(source.shape)))
        start += size


def lower_gather(lowering: Lowering, node: Node) -> None:
    """Write Gather with constant indices."""
    rank = len(lowering.graph.shape(node.inputs[0]))
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", 0) % rank
    indices = lowering.constant(node, 1)
    source = lowering.read(node, 0, identity(rank))
    size = source.shape[axis]
    if indices.ndim > 1:
        raise node.refuse("indices with several axes are not supported", SUGGESTION)
    picked = np.asarray([index % size for index in as_ints(indices)], np.int32)
    result = lowering.named(
        node, node.outputs[0], identity(len(lowering.graph.shape(node.outputs[0])))
    )
    lowering.emit(
        "GATHER",
        [source.tensor, lowering.raw_constant("indices", picked.reshape(indices.shape))],
        result,
        ("GatherOptions", {"axis": axis}),
    )


def lower_pad(lowering: Lowering, node: Node) -> None:
    """Write Pad with a constant value."""
    with AttributeReader(node) as attributes:
        attributes.only("mode", "constant")
    source = lowering.read(node)
    rank = len(source.shape)
    pads = as_ints(lowering.constant(node, 1))
    if node.optional_input(3):
        axes = tuple(axis % rank for axis in as_ints(lowering.constant(node, 3)))
        full = [0] * (2 * rank)
        for position, axis in enumerate(axes):
            full[axis], full[rank + axis] = pads[position], pads[len(axes) + position]
        pads = tuple(full)
    if min(pads) < 0:
        raise node.refuse("negative pads are not supported", "use Slice instead")
    value = float(lowering.constant(node, 2).item()) if node.optional_input(2) else 0.0
    result = lowering.named(node, node.outputs[0], source.perm)
    emit_pad(lowering, source, result, (pads[:rank], pads[rank:]), value)


def pad_image(
    lowering: Lowering,
    source: Value,
    before: tuple[int, int],
    after: tuple[int, int],
    value: float = 0.0,
) -> Value:
    """Return ``source`` with its image axes padded; int8 values are padded on their grid."""
    batch, channels, height, width = source.shape
    shape = (batch, channels, height + before[0] + after[0], width + before[1] + after[1])
    result = lowering.temporary(shape, source.perm, source.dtype, source.grid)
    emit_pad(lowering, source, result, ((0, 0, *before), (0, 0, *after)), value)
    return result


def emit_pad(
    lowering: Lowering,
    source: Value,
    result: Value,
    pads: tuple[tuple[int, ...], tuple[int, ...]],
    value: float,
) -> None:
    """Add PAD, which fills with real zero, or PADV2, which fills with ``value``."""
    before, after = pads
    table = np.asarray([[before[axis], after[axis]] for axis in source.perm], np.int32)
    amounts = lowering.raw_constant("pads", table)
    if value == 0.0:
        lowering.emit("PAD", [source.tensor, amounts], result, ("PadOptions", {}))
        return
    filling = lowering.add_constant("filling", np.asarray(value, np.float32), (), source.grid)
    lowering.emit("PADV2", [source.tensor, amounts, filling.tensor], result, ("PadV2Options", {}))
