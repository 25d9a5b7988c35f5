"""Operators that move, cut or enlarge tensors without arithmetic."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from converters.arrays import as_ints
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.layout import Value, identity, reshaped, transposed
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.ops_index import pick


def _mirrored(place: int, size: int) -> int:
    """Return where ``place`` lands when an axis is unfolded by mirrors at its ends."""
    if size == 1:
        return 0
    place %= 2 * (size - 1)
    return min(place, 2 * (size - 1) - place)


_PAD_PLACES: Final[Mapping[str, Callable[[int, int], int]]] = {
    "edge": lambda place, size: min(max(place, 0), size - 1),
    "reflect": _mirrored,
    "wrap": lambda place, size: place % size,
}
"""By mode: which element of an axis of ``size`` stands at a place outside of it."""

_MAX_PAD_RANK: Final = 5
_MAX_SLICE_RANK: Final = 5


def lower_reshape(lowering: Lowering, node: Node) -> None:
    """Write Reshape, Flatten, Squeeze and Unsqueeze; the target shape is inferred already."""
    with AttributeReader(node) as attributes:
        attributes.ignore("axis", "axes")  # both show in the output's shape
        attributes.only("allowzero", 0, 1)
    shape = lowering.graph.shape(node.outputs[0])
    source = lowering.read(node)
    perm = None if 0 in source.shape else reshaped(source.shape, shape, source.perm)
    if perm is None:
        source, perm = lowering.read_flat(node), identity(len(shape))
    lowering.emit_reshape(source, lowering.named(node, node.outputs[0], perm))


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
    if 0 in steps:
        raise node.refuse("a step is 0", "the model is damaged")
    if rank > _MAX_SLICE_RANK:
        raise node.refuse(f"slices of {rank} axes are not supported", SUGGESTION)
    begin, stride = [0] * rank, [1] * rank
    end = list(source.shape)
    for axis, start, stop, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0:
            places = range(source.shape[axis])[start:stop:step]
            if not places:
                raise node.refuse("its output is empty", SUGGESTION)
            source = pick(lowering, source, axis, places)
            begin[axis], end[axis] = 0, len(places)
            continue
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


def lower_pad(lowering: Lowering, node: Node) -> None:
    """Write Pad with a constant, mirrored, repeated or wrapped edge; negative pads cut."""
    with AttributeReader(node) as attributes:
        mode = attributes.text("mode", "constant")
    source = lowering.read(node)
    rank = len(source.shape)
    if rank > _MAX_PAD_RANK:
        raise node.refuse(f"pads of {rank} axes are not supported", SUGGESTION)
    before, after = _pads(lowering, node, rank)
    if min(before + after) < 0:
        source = _cut(lowering, node, source, (before, after))
        before, after = (tuple(max(pad, 0) for pad in pads) for pads in (before, after))
    if mode == "constant":
        value = float(lowering.constant(node, 2).item()) if node.optional_input(2) else 0.0
        result = lowering.named(node, node.outputs[0], source.perm)
        emit_pad(lowering, source, result, (before, after), value)
        return
    if mode not in _PAD_PLACES:
        raise node.refuse(f"mode {mode} is not supported")
    if lowering.is_integer(node):
        raise node.refuse(f"mode {mode} has no integer form", SUGGESTION)
    inner = all(max(pads) < size for *pads, size in zip(before, after, source.shape, strict=True))
    if mode == "reflect" and inner:
        result = lowering.named(node, node.outputs[0], source.perm)
        table = np.asarray([[before[axis], after[axis]] for axis in source.perm], np.int32)
        inputs = [source.tensor, lowering.raw_constant("pads", table)]
        lowering.emit("MIRROR_PAD", inputs, result, ("MirrorPadOptions", {"mode": "REFLECT"}))
        return
    for axis, (first, last) in enumerate(zip(before, after, strict=True)):
        if first or last:
            places = range(-first, source.shape[axis] + last)
            size = source.shape[axis]
            source = pick(lowering, source, axis, [_PAD_PLACES[mode](i, size) for i in places])
    lowering.emit_reshape(source, lowering.named(node, node.outputs[0], source.perm))


def _pads(lowering: Lowering, node: Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the pads before and after every ONNX axis."""
    pads = as_ints(lowering.constant(node, 1))
    axes = tuple(range(rank))
    if node.optional_input(3):
        axes = tuple(axis % rank for axis in as_ints(lowering.constant(node, 3)))
    if len(pads) != 2 * len(axes):
        raise node.refuse("its pads do not fit its input", "the model is damaged")
    full = [0] * (2 * rank)
    for position, axis in enumerate(axes):
        full[axis], full[rank + axis] = pads[position], pads[len(axes) + position]
    return tuple(full[:rank]), tuple(full[rank:])


def _cut(
    lowering: Lowering, node: Node, source: Value, pads: tuple[tuple[int, ...], tuple[int, ...]]
) -> Value:
    """Return ``source`` without what negative pads take away."""
    begin = tuple(max(-pad, 0) for pad in pads[0])
    shape = tuple(
        size - first - max(-last, 0)
        for size, first, last in zip(source.shape, begin, pads[1], strict=True)
    )
    if min(shape) < 1:
        raise node.refuse("its pads leave nothing", SUGGESTION)
    result = lowering.temporary(shape, source.perm, source.dtype, source.grid)
    numbers = ([values[axis] for axis in source.perm] for values in (begin, shape))
    inputs = [lowering.raw_constant("bound", np.asarray(n, np.int32)) for n in numbers]
    lowering.emit("SLICE", [source.tensor, *inputs], result, ("SliceOptions", {}))
    return result


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
    filling = lowering.add_constant("filling", np.asarray(value, source.dtype), (), source.grid)
    lowering.emit("PADV2", [source.tensor, amounts, filling.tensor], result, ("PadV2Options", {}))
