"""Reductions over axes and the operators that are reductions in disguise."""

from typing import Final

import numpy as np

from converters.arrays import as_ints
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    Reduction,
    binary,
    cast,
    output,
    reduce,
    require_types,
    unary,
    whole,
)
from converters.tflite.layout import Value, identity
from converters.tflite.lowering import SUGGESTION, Lowering

_PLAIN: Final[dict[str, Reduction]] = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
}
_OF_TRUTHS: Final[dict[str, Reduction]] = {"ReduceMax": "REDUCE_ANY", "ReduceMin": "REDUCE_ALL"}


def lower_global_pool(lowering: Lowering, node: Node) -> None:
    """Write GlobalAveragePool and GlobalMaxPool as a reduction of the image axes."""
    with AttributeReader(node):
        pass  # neither has attributes
    source = lowering.read(node)
    code: Reduction = "MEAN" if node.op == "GlobalAveragePool" else "REDUCE_MAX"
    result = output(lowering, node, source.perm)
    reduce(lowering, code, source, range(2, len(source.shape)), result)


def _axes(lowering: Lowering, node: Node) -> tuple[tuple[int, ...], bool]:
    """Return the axes, sorted, and whether they stay as size 1; no axis means none is reduced."""
    rank = len(lowering.graph.shape(node.inputs[0]))
    with AttributeReader(node) as attributes:
        keep = attributes.integer("keepdims", 1) == 1
        axes = attributes.integers("axes", ())
        empty_means_nothing = attributes.integer("noop_with_empty_axes", 0) == 1
    if node.optional_input(1):
        axes = as_ints(lowering.constant(node, 1))
    if axes or empty_means_nothing:
        return tuple(sorted({axis % rank for axis in axes})), keep
    return tuple(range(rank)), keep


def lower_reduce(lowering: Lowering, node: Node) -> None:
    """Write ReduceMean, -Sum, -Max, -Min, -Prod; -Max and -Min also of truth values.

    Whole numbers are summed and multiplied, and compared, but not averaged.
    """
    axes, keep = _axes(lowering, node)
    kind = lowering.graph.dtype(node.inputs[0])
    code = _PLAIN[node.op]
    if kind == BOOL and node.op in _OF_TRUTHS:
        code = _OF_TRUTHS[node.op]
    elif kind != FLOAT and (node.op == "ReduceMean" or kind not in (INT32, INT64)):
        raise node.refuse(f"{kind} arithmetic is not supported", SUGGESTION)
    source = _readable(lowering, node, axes, keep=keep)
    _finish(lowering, node, code, source, axes, keep=keep)


def _readable(lowering: Lowering, node: Node, axes: tuple[int, ...], *, keep: bool) -> Value:
    """Return the input in a layout in which what is left after the reduction is in order."""
    source = lowering.read(node)
    if keep:
        return source
    left = [axis for axis in source.perm if axis not in axes]
    return source if left == sorted(left) else lowering.read(node, 0, identity(len(source.shape)))


def _finish(
    lowering: Lowering,
    node: Node,
    code: Reduction,
    source: Value,
    axes: tuple[int, ...],
    *,
    keep: bool,
) -> Value:
    result = output(lowering, node, source.perm if keep else None)
    if not axes:
        if source.grid != result.grid:
            raise node.refuse("a reduction over no axis has no integer form", SUGGESTION)
        lowering.emit_reshape(source, result)
        return result
    return reduce(lowering, code, source, axes, result, keep=keep)


def lower_reduce_norm(lowering: Lowering, node: Node) -> None:
    """Write ReduceL1, -L2, -SumSquare, -LogSum and -LogSumExp step by step, in float.

    LogSumExp subtracts the maximum first, so that it cannot overflow.
    """
    axes, keep = _axes(lowering, node)
    require_types(lowering, _without_axes(node))
    source = _readable(lowering, node, axes, keep=keep)
    if node.op == "ReduceLogSumExp":
        _log_sum_exp(lowering, node, source, axes, keep=keep)
        return
    before = {"ReduceL1": "ABS", "ReduceL2": "SQUARE", "ReduceSumSquare": "SQUARE"}.get(node.op)
    after = {"ReduceL2": "SQRT", "ReduceLogSum": "LOG"}.get(node.op)
    if before:
        source = unary(lowering, before, source)
    if after is None:
        _finish(lowering, node, "SUM", source, axes, keep=keep)
        return
    total = reduce(lowering, "SUM", source, axes, keep=keep) if axes else source
    unary(lowering, after, total, output(lowering, node, total.perm))


def _without_axes(node: Node) -> Node:
    """Return ``node`` as far as its numbers go: the axes are an int64 input."""
    return Node(name=node.name, op=node.op, inputs=node.inputs[:1], outputs=node.outputs)


def _log_sum_exp(
    lowering: Lowering, node: Node, source: Value, axes: tuple[int, ...], *, keep: bool
) -> None:
    if not axes:
        lowering.emit_reshape(source, output(lowering, node, source.perm))
        return
    peak = reduce(lowering, "REDUCE_MAX", source, axes)
    # An infinite maximum must not become "infinity minus infinity".
    limit = float(np.finfo(np.float32).max)
    peak = binary(lowering, "MAXIMUM", binary(lowering, "MINIMUM", peak, limit), -limit)
    shifted = unary(lowering, "EXP", binary(lowering, "SUB", source, peak))
    total = unary(lowering, "LOG", reduce(lowering, "SUM", shifted, axes))
    if keep:
        binary(lowering, "ADD", total, peak, output(lowering, node, source.perm))
        return
    lowering.emit_reshape(binary(lowering, "ADD", total, peak), output(lowering, node))


def lower_arg(lowering: Lowering, node: Node) -> None:
    """Write ArgMax and ArgMin; of equal elements the first one counts, or the last."""
    rank = len(lowering.graph.shape(node.inputs[0]))
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", 0) % rank
        keep = attributes.integer("keepdims", 1) == 1
        last = attributes.integer("select_last_index", 0) == 1
    kind = lowering.graph.dtype(node.inputs[0])
    if kind not in (FLOAT, INT32):
        raise node.refuse(f"{kind} numbers are not supported", SUGGESTION)
    source = _readable(lowering, node, (axis,), keep=keep)
    place = source.stored_axis(axis)
    if last:
        reverse = lowering.temporary(source.shape, source.perm, kind)
        inputs = [source.tensor, whole(lowering, "axis", [place])]
        lowering.emit("REVERSE_V2", inputs, reverse, ("ReverseV2Options", {}))
        source = reverse
    stored = tuple(size for other, size in enumerate(source.stored_shape) if other != place)
    index = lowering.temporary(stored, identity(len(stored)), INT32)
    lowering.emit(
        "ARG_MAX" if node.op == "ArgMax" else "ARG_MIN",
        [source.tensor, whole(lowering, "axis", np.asarray(place))],
        index,
        ("ArgMaxOptions" if node.op == "ArgMax" else "ArgMinOptions", {"outputType": "INT32"}),
    )
    if last:
        size = np.asarray(source.shape[axis] - 1, np.int32)
        index = binary(lowering, "SUB", size, index)
    result = output(lowering, node, source.perm if keep else None)
    wide = cast(lowering, index, INT64) if keep else cast(lowering, index, INT64, result)
    if keep:
        lowering.emit_reshape(wide, result)


def lower_top_k(lowering: Lowering, node: Node) -> None:
    """Write TopK of a constant k: the largest (or smallest) along any axis, sorted."""
    source_shape = lowering.graph.shape(node.inputs[0])
    rank = len(source_shape)
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", -1) % rank
        largest = attributes.integer("largest", 1) == 1
        attributes.only("sorted", 0, 1)  # without order, any order is right
    kind = lowering.graph.dtype(node.inputs[0])
    if kind != FLOAT and not (largest and kind in (INT32, INT64)):
        raise node.refuse(f"{kind} numbers are not supported", SUGGESTION)
    k = as_ints(lowering.constant(node, 1))[0]
    perm = (*(other for other in range(rank) if other != axis), axis)
    source = lowering.read(node, 0, perm)
    shape = tuple(k if other == axis else size for other, size in enumerate(source_shape))
    if not largest:
        source = unary(lowering, "NEG", source)
    direct = largest and bool(node.outputs[0])
    values = output(lowering, node, perm) if direct else lowering.temporary(shape, perm, kind)
    places = lowering.temporary(shape, perm, INT32)
    lowering.emit(
        "TOPK_V2",
        [source.tensor, whole(lowering, "k", np.asarray(k))],
        [values, places],
        ("TopKV2Options", {}),
    )
    if not largest and node.outputs[0]:
        unary(lowering, "NEG", values, output(lowering, node, perm))
    if node.outputs[1:] and node.outputs[1]:
        cast(lowering, places, INT64, output(lowering, node, perm, 1))
