"""Operators that move elements: reshape, transpose, pad, slice, concat, blocks."""

from typing import Final

import numpy as np

from converters.arrays import as_ints
from converters.graph import Attribute
from converters.importing.tflite.build import CHANNELS_FIRST, Builder
from converters.importing.tflite.file import FileOperator
from converters.importing.tflite.ops_layers import require_rank
from converters.importing.tflite.ops_math import to_kind
from converters.tflite.layout import identity, transposed

_IMAGE: Final = 4
_REFLECT: Final = 0


def reshape(build: Builder, operator: FileOperator) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the same elements in the output's shape."""
    source = build.read_flat(operator)
    target = build.target(operator)
    count = int(np.prod(target.shape))
    shape_is_data = (
        operator.code == "RESHAPE" and build.has(operator, 1) and not build.is_constant(operator, 1)
    )
    if shape_is_data:
        wanted = to_kind(build, operator, build.read(operator, 1, (0,)).name, "int64")
        name = build.emit("Reshape", [source.name, wanted])[0]
    elif count == int(np.prod(source.shape)):
        name = build.reshape(source.name, target.shape)
    else:
        raise operator.refuse(f"{list(source.shape)} cannot become {list(target.shape)}")
    build.write(operator, name, identity(len(target.shape)))


def transpose(build: Builder, operator: FileOperator) -> None:
    """TRANSPOSE: only the layout's name changes, nothing is computed."""
    source = build.read(operator)
    order = as_ints(build.constant(operator, 1))
    if sorted(order) != list(range(len(source.shape))):
        raise operator.refuse(f"{list(order)} is no order of {len(source.shape)} axes")
    build.write(operator, source.name, transposed(source.perm, order))


def pad(build: Builder, operator: FileOperator) -> None:
    """PAD, PADV2 and MIRROR_PAD."""
    source = build.read(operator)
    rank = len(source.shape)
    amounts = build.constant(operator, 1).astype(np.int64)
    if amounts.shape != (rank, 2) or amounts.min(initial=0) < 0:
        raise operator.refuse(f"its pads {amounts.tolist()} do not fit {rank} axes")
    stored = amounts[list(source.perm)]
    inputs = [source.name, build.ints("pads", as_ints(stored.T))]
    attributes: dict[str, Attribute] = {}
    if operator.code == "MIRROR_PAD":
        if operator.options["mode"] != _REFLECT and stored.max(initial=0) > 1:
            raise operator.refuse("symmetric padding by more than one element is not supported")
        attributes["mode"] = "reflect" if operator.options["mode"] == _REFLECT else "edge"
    elif operator.code == "PADV2":
        value = build.constant(operator, 2)
        inputs.append(build.add_constant("pad_value", value.reshape(())))
    build.write(operator, build.emit("Pad", inputs, attributes)[0], source.perm)


def concatenation(build: Builder, operator: FileOperator) -> None:
    """CONCATENATION, in the layout that its first computed input has."""
    count = len(operator.inputs)
    computed = [build.read(operator, i) for i in range(count) if not build.is_constant(operator, i)]
    rank = len(build.target(operator).shape)
    perm = computed[0].perm if computed else identity(rank)
    parts = [build.read(operator, index, perm) for index in range(count)]
    if any(len(part.shape) != rank for part in parts) or not rank:
        raise operator.refuse("its inputs differ in their number of axes")
    axis = _axis(operator, int(operator.options["axis"]), rank)
    made = build.emit("Concat", [part.name for part in parts], {"axis": perm.index(axis)})
    build.write(operator, made[0], perm)


def _axis(operator: FileOperator, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise operator.refuse(f"axis {axis} does not exist in {rank} axes")
    return axis % rank


def _single(build: Builder, operator: FileOperator, index: int) -> int:
    numbers = as_ints(build.constant(operator, index))
    if len(numbers) != 1:
        raise operator.refuse(f"input {index} is {list(numbers[:8])}, expected one number")
    return numbers[0]


def split(build: Builder, operator: FileOperator) -> None:
    """SPLIT (axis first) and SPLIT_V (sizes second, axis third)."""
    data, axis_at = (1, 0) if operator.code == "SPLIT" else (0, 2)
    source = build.read(operator, data)
    axis = _axis(operator, _single(build, operator, axis_at), len(source.shape))
    sizes = [build.target(operator, i).shape[axis] for i in range(len(operator.outputs))]
    if sum(sizes) != source.shape[axis]:
        raise operator.refuse(f"parts of {sizes} do not make {source.shape[axis]}")
    names = build.emit(
        "Split",
        [source.name, build.ints("sizes", sizes)],
        {"axis": source.stored_axis(axis)},
        outputs=len(sizes),
    )
    for index, name in enumerate(names):
        build.write(operator, name, source.perm, index=index)


def slice_(build: Builder, operator: FileOperator) -> None:
    """SLICE: begin and size, where -1 means up to the end."""
    source = build.read(operator)
    begin, size = as_ints(build.constant(operator, 1)), as_ints(build.constant(operator, 2))
    if not len(begin) == len(size) == len(source.shape):
        raise operator.refuse("begin and size do not fit its input")
    ends = [
        full if count == -1 else start + count
        for full, start, count in zip(source.shape, begin, size, strict=True)
    ]
    axes = [source.stored_axis(axis) for axis in range(len(begin))]
    name = _emit_slice(build, source.name, axes=axes, begin=begin, end=ends)
    build.write(operator, name, source.perm)


def _emit_slice(
    build: Builder,
    name: str,
    *,
    axes: list[int],
    begin: tuple[int, ...] | list[int],
    end: list[int],
    steps: tuple[int, ...] | None = None,
) -> str:
    inputs = [name, build.ints("begin", begin), build.ints("end", end), build.ints("axes", axes)]
    if steps is not None:
        inputs.append(build.ints("steps", steps))
    return build.emit("Slice", inputs)[0]


def strided_slice(build: Builder, operator: FileOperator) -> None:
    """STRIDED_SLICE with begin, end and shrink masks."""
    options = operator.options
    if options["ellipsis_mask"] or options["new_axis_mask"] or options["offset"]:
        raise operator.refuse("an ellipsis, a new axis or an offset is not supported")
    rank = len(build.tensor(operator, 0).shape)
    source = build.read(operator, 0, identity(rank))
    begin, end, steps = (as_ints(build.constant(operator, index)) for index in (1, 2, 3))
    if not len(begin) == len(end) == len(steps) <= rank or 0 in steps:
        raise operator.refuse("begin, end and strides do not fit its input")
    first, last = [], []
    shrunk = [axis for axis in range(len(begin)) if int(options["shrink_axis_mask"]) >> axis & 1]
    for axis, step in enumerate(steps):
        size = source.shape[axis]
        if axis in shrunk:
            place = begin[axis] + (size if begin[axis] < 0 else 0)
            if not 0 <= place < size:
                raise operator.refuse(f"element {begin[axis]} of {size} does not exist")
            first.append(place)
            last.append(place + 1)
            continue
        open_begin = int(options["begin_mask"]) >> axis & 1
        open_end = int(options["end_mask"]) >> axis & 1
        first.append((0 if step > 0 else size - 1) if open_begin else begin[axis])
        # Behind a descending slice lies "before the first", which no index names.
        last.append((size if step > 0 else -size - 1) if open_end else end[axis])
    steps = tuple(1 if axis in shrunk else step for axis, step in enumerate(steps))
    axes = list(range(len(steps)))
    name = _emit_slice(build, source.name, axes=axes, begin=first, end=last, steps=steps)
    if shrunk:
        name = build.emit("Squeeze", [name, build.ints("axes", shrunk)])[0]
    build.write(operator, name, identity(rank - len(shrunk)))


def gather(build: Builder, operator: FileOperator) -> None:
    """GATHER along one axis, and EMBEDDING_LOOKUP's like of it."""
    if operator.options["batch_dims"]:
        raise operator.refuse("batch dimensions are not supported")
    rank = len(build.tensor(operator, 0).shape)
    where = len(build.tensor(operator, 1).shape)
    axis = _axis(operator, int(operator.options["axis"]), rank)
    source = build.read(operator, 0, identity(rank))
    index = build.read(operator, 1, identity(where))
    made = build.emit("Gather", [source.name, index.name], {"axis": axis})
    build.write(operator, made[0], identity(rank - 1 + where))


def gather_nd(build: Builder, operator: FileOperator) -> None:
    """GATHER_ND."""
    source = build.read(operator, 0, identity(len(build.tensor(operator, 0).shape)))
    index = build.read(operator, 1, identity(len(build.tensor(operator, 1).shape)))
    wide = to_kind(build, operator, index.name, "int64")
    made = build.emit("GatherND", [source.name, wide])[0]
    build.write(operator, made, identity(len(build.target(operator).shape)))


def pack(build: Builder, operator: FileOperator) -> None:
    """PACK: inputs of one shape side by side along a new axis."""
    rank = len(build.target(operator).shape)
    axis = _axis(operator, int(operator.options["axis"]), rank)
    axes = build.ints("axes", (axis,))
    parts = [
        build.emit("Unsqueeze", [build.read(operator, i, identity(rank - 1)).name, axes])[0]
        for i in range(len(operator.inputs))
    ]
    build.write(operator, build.emit("Concat", parts, {"axis": axis})[0], identity(rank))


def unpack(build: Builder, operator: FileOperator) -> None:
    """UNPACK: the slices along one axis, without that axis."""
    rank = len(build.tensor(operator, 0).shape)
    source = build.read(operator, 0, identity(rank))
    axis = _axis(operator, int(operator.options["axis"]), rank)
    count = source.shape[axis]
    if count != len(operator.outputs):
        raise operator.refuse(f"{count} slices, {len(operator.outputs)} outputs")
    names = build.emit(
        "Split", [source.name, build.ints("sizes", (1,) * count)], {"axis": axis}, outputs=count
    )
    axes = build.ints("axes", (axis,))
    for index, name in enumerate(names):
        build.write(operator, build.emit("Squeeze", [name, axes])[0], identity(rank - 1), index)


def tile(build: Builder, operator: FileOperator) -> None:
    """TILE."""
    source = build.read(operator)
    repeats = as_ints(build.constant(operator, 1))
    if len(repeats) != len(source.shape):
        raise operator.refuse("its repeats do not fit its input")
    stored = build.ints("repeats", [repeats[axis] for axis in source.perm])
    build.write(operator, build.emit("Tile", [source.name, stored])[0], source.perm)


def broadcast_to(build: Builder, operator: FileOperator) -> None:
    """BROADCAST_TO a constant shape."""
    source = build.read(operator, 0, identity(len(build.tensor(operator, 0).shape)))
    shape = as_ints(build.constant(operator, 1))
    made = build.emit("Expand", [source.name, build.ints("shape", shape)])[0]
    build.write(operator, made, identity(len(shape)))


def reverse(build: Builder, operator: FileOperator) -> None:
    """REVERSE_V2 along constant axes."""
    source = build.read(operator)
    rank = len(source.shape)
    axes = [_axis(operator, axis, rank) for axis in as_ints(build.constant(operator, 1))]
    stored = [source.stored_axis(axis) for axis in axes]
    name = _emit_slice(
        build,
        source.name,
        axes=stored,
        begin=[-1] * len(axes),
        end=[-source.shape[axis] - 1 for axis in axes],
        steps=(-1,) * len(axes),
    )
    build.write(operator, name, source.perm)


def shape_of(build: Builder, operator: FileOperator) -> None:
    """SHAPE: known already, and constant."""
    shape = np.asarray(build.tensor(operator, 0).shape, build.target(operator).dtype or np.int32)
    build.write(operator, build.add_constant("shape", shape), (0,))


def blocks(build: Builder, operator: FileOperator) -> None:
    """SPACE_TO_DEPTH and DEPTH_TO_SPACE: both worlds count block row, block column, channel."""
    require_rank(operator, build.tensor(operator, 0).shape, _IMAGE)
    size = int(operator.options["block_size"])
    if size < 1:
        raise operator.refuse(f"a block of {size} is empty")
    source = build.read(operator, 0, CHANNELS_FIRST)
    op, attributes = "SpaceToDepth", {"blocksize": size}
    extra: dict[str, Attribute] = {}
    if operator.code == "DEPTH_TO_SPACE":
        op, extra = "DepthToSpace", {"mode": "DCR"}
    made = build.emit(op, [source.name], {**attributes, **extra})[0]
    build.write(operator, made, CHANNELS_FIRST)
