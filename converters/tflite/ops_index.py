"""Operators that pick elements by their number: Gather and its kin, OneHot."""

import math
from collections.abc import Sequence

import numpy as np

from converters.arrays import Array, as_ints
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import (
    INT32,
    INT64,
    NUMBERS,
    binary,
    cast,
    output,
    reduce,
    reshape,
    select,
    whole,
)
from converters.tflite.layout import Value, identity
from converters.tflite.lowering import SUGGESTION, Lowering

_MAX_PLACES = 1 << 22
"""GatherElements stores a number per index; more would bloat the file."""


def lower_gather(lowering: Lowering, node: Node) -> None:
    """Write Gather along any axis, with constant or computed indices."""
    shape = lowering.graph.shape(node.inputs[0])
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", 0) % max(1, len(shape))
    flat = len(lowering.graph.shape(node.inputs[1])) == 1
    # One axis of indices takes the place of the axis it picks from: any layout will do.
    source = lowering.read(node, 0, None if flat else identity(len(shape)))
    indices = _indices(lowering, node, shape[axis])
    result = output(lowering, node, source.perm if flat else None)
    _emit_gather(lowering, source, indices, source.stored_axis(axis), result)


def _emit_gather(
    lowering: Lowering, source: Value, indices: Value, stored_axis: int, result: Value
) -> None:
    inputs = [source.tensor, indices.tensor]
    lowering.emit("GATHER", inputs, result, ("GatherOptions", {"axis": stored_axis}))


def _indices(lowering: Lowering, node: Node, size: int) -> Value:
    """Return input 1 as int32 indices that count from the start, in ONNX's order."""
    name = node.inputs[1]
    if lowering.is_constant(name):
        array = lowering.graph.constants[name]
        return lowering.add_constant(name, _wrapped(node, array, size), identity(array.ndim))
    kind = lowering.graph.dtype(name)
    if kind not in (INT32, INT64):
        raise node.refuse(f"{kind} indices are not supported", SUGGESTION)
    found = lowering.read(node, 1, identity(len(lowering.graph.shape(name))))
    return _wrapped_value(lowering, found if kind == INT32 else cast(lowering, found, INT32), size)


def _wrapped(node: Node, indices: Array, size: int | Array) -> Array:
    numbers = indices.astype(np.int64)
    sizes = np.asarray(size, np.int64)
    if np.any(numbers < -sizes) or np.any(numbers >= sizes):
        raise node.refuse(f"an index lies outside the axis of size {size}", "the model is damaged")
    return np.where(numbers < 0, numbers + sizes, numbers).astype(np.int32)


def _wrapped_value(lowering: Lowering, indices: Value, size: int | Array) -> Value:
    """Return indices with negative ones counted from the end; the kernel checks the rest."""
    moved = binary(lowering, "ADD", indices, np.asarray(size, np.int32))
    return select(lowering, binary(lowering, "LESS", indices, 0.0), moved, indices)


def pick(lowering: Lowering, source: Value, axis: int, places: Sequence[int]) -> Value:
    """Return ``source`` with its ONNX axis ``axis`` made of the elements at ``places``."""
    shape = tuple(len(places) if other == axis else size for other, size in enumerate(source.shape))
    result = lowering.temporary(shape, source.perm, source.dtype, source.grid)
    inputs = [source.tensor, whole(lowering, "indices", places)]
    options = ("GatherOptions", {"axis": source.stored_axis(axis)})
    lowering.emit("GATHER", inputs, result, options)
    return result


def lower_gather_elements(lowering: Lowering, node: Node) -> None:
    """Write GatherElements as GATHER from the flattened input at computed places."""
    shape = lowering.graph.shape(node.inputs[0])
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", 0) % len(shape)
    wanted = lowering.graph.shape(node.inputs[1])
    if math.prod(wanted) > _MAX_PLACES:
        raise node.refuse(f"{math.prod(wanted)} indices are too many", SUGGESTION)
    strides = _strides(shape)
    grid = np.indices(wanted, dtype=np.int32)
    others = [grid[other] * strides[other] for other in range(len(shape)) if other != axis]
    base = np.sum(others, axis=0, dtype=np.int32) if others else np.zeros(wanted, np.int32)
    indices = _indices(lowering, node, shape[axis])
    places = binary(lowering, "MUL", indices, np.asarray(strides[axis], np.int32))
    places = binary(lowering, "ADD", places, np.broadcast_to(base, wanted))
    source = reshape(lowering, lowering.read_flat(node), (math.prod(shape),))
    _emit_gather(lowering, source, places, 0, output(lowering, node))


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def lower_gather_nd(lowering: Lowering, node: Node) -> None:
    """Write GatherND: places in the flattened leading axes are computed, then gathered."""
    shape = lowering.graph.shape(node.inputs[0])
    wanted = lowering.graph.shape(node.inputs[1])
    with AttributeReader(node) as attributes:
        batch = attributes.integer("batch_dims", 0)
    depth = batch + wanted[-1]
    if not 0 <= batch < len(wanted) or depth > len(shape):
        raise node.refuse("its indices do not fit its input", "the model is damaged")
    strides = np.asarray(_strides(shape[:depth]), np.int32)
    sizes = np.asarray(shape[batch:depth], np.int32)
    if lowering.is_constant(node.inputs[1]):
        array = _wrapped(node, lowering.constant(node, 1), sizes)
        indices = lowering.add_constant(node.inputs[1], array, identity(array.ndim))
    else:
        found = lowering.read(node, 1, identity(len(wanted)))
        found = found if found.dtype == INT32 else cast(lowering, found, INT32)
        indices = _wrapped_value(lowering, found, _in_rank(sizes, len(wanted)))
    scaled = binary(lowering, "MUL", indices, _in_rank(strides[batch:], len(wanted)))
    places = reduce(lowering, "SUM", scaled, (len(wanted) - 1,), keep=False)
    if batch:
        base = np.indices(wanted[:batch], dtype=np.int32)
        total = np.tensordot(strides[:batch], base, axes=1).astype(np.int32)
        ones = (1,) * (len(wanted) - 1 - batch)
        places = binary(lowering, "ADD", places, total.reshape(*wanted[:batch], *ones))
    source = lowering.read_flat(node)
    rows = reshape(lowering, source, (math.prod(shape[:depth]), *shape[depth:]))
    _emit_gather(lowering, rows, places, 0, output(lowering, node))


def _in_rank(numbers: Array, rank: int) -> Array:
    return numbers.reshape((1,) * (rank - 1) + (-1,))


def lower_one_hot(lowering: Lowering, node: Node) -> None:
    """Write OneHot with constant depth and values."""
    rank = len(lowering.graph.shape(node.outputs[0]))
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", -1) % rank
    depth = as_ints(lowering.constant(node, 1))[0]
    off, on = lowering.constant(node, 2)
    kind = lowering.graph.dtype(node.inputs[0])
    if kind not in (INT32, INT64) or lowering.graph.dtype(node.outputs[0]) not in NUMBERS:
        raise node.refuse(f"{kind} indices are not supported", SUGGESTION)
    found = lowering.read(node, 0, identity(rank - 1))
    found = found if found.dtype == INT32 else cast(lowering, found, INT32)
    indices = _wrapped_value(lowering, found, depth)
    inputs = [indices.tensor, whole(lowering, "depth", np.asarray(depth))]
    inputs += [lowering.raw_constant("level", np.asarray(value)) for value in (on, off)]
    result = output(lowering, node)
    lowering.emit("ONE_HOT", inputs, result, ("OneHotOptions", {"axis": axis}))
