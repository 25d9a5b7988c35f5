"""Normalisations and what is computed along one axis, step by step in float."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import (
    INT32,
    binary,
    broadcast_operand,
    output,
    reduce,
    require_types,
    reshape,
    select,
    unary,
    whole,
)
from converters.tflite.layout import IMAGE_RANK, Perm, Value, identity
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.ops_logic import check_rank

_EPSILON: Final = 1e-5
_VARIANCE_FLOOR: Final = 1e-9
_PER_CHANNEL_OPSET: Final = 21
"""Since then GroupNormalization scales channels; before, it scaled groups."""


def _statistics(
    lowering: Lowering, source: Value, axes: Sequence[int], epsilon: float
) -> tuple[Value, Value, Value]:
    """Return ``source - mean``, the mean, and ``1 / sqrt(variance + epsilon)``."""
    mean = reduce(lowering, "MEAN", source, axes)
    centred = binary(lowering, "SUB", source, mean)
    variance = reduce(lowering, "MEAN", binary(lowering, "MUL", centred, centred), axes)
    inverse = unary(lowering, "RSQRT", binary(lowering, "ADD", variance, epsilon))
    return centred, mean, inverse


def lower_layer_norm(lowering: Lowering, node: Node) -> None:
    """Write LayerNormalization and RMSNormalization with constant scale and bias."""
    rank = len(lowering.graph.shape(node.inputs[0]))
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", -1) % rank
        epsilon = attributes.number("epsilon", _EPSILON)
        attributes.only("stash_type", 1)
    require_types(lowering, node)
    if rank > IMAGE_RANK:
        raise node.refuse(f"{rank} axes are not supported", SUGGESTION)
    axes = tuple(range(axis, rank))
    source = lowering.read(node)
    scale = _parameter(lowering, node, 1, source)
    if node.op == "RMSNormalization":
        square = reduce(lowering, "MEAN", binary(lowering, "MUL", source, source), axes)
        inverse = unary(lowering, "RSQRT", binary(lowering, "ADD", square, epsilon))
        normal = binary(lowering, "MUL", source, inverse)
    else:
        centred, mean, inverse = _statistics(lowering, source, axes, epsilon)
        normal = binary(lowering, "MUL", centred, inverse)
        for index, value in ((1, mean), (2, inverse)):
            if len(node.outputs) > index and node.outputs[index]:
                lowering.emit_reshape(value, output(lowering, node, source.perm, index))
    result = output(lowering, node, source.perm)
    if not node.optional_input(2):
        binary(lowering, "MUL", normal, scale, result)
        return
    scaled = binary(lowering, "MUL", normal, scale)
    binary(lowering, "ADD", scaled, _parameter(lowering, node, 2, source), result)


def _parameter(lowering: Lowering, node: Node, index: int, like: Value) -> Array:
    """Return a constant input with as many axes as ``like``."""
    array = lowering.constant(node, index)
    return array.reshape((1,) * (len(like.shape) - array.ndim) + array.shape)


def _per_channel(lowering: Lowering, node: Node, index: int, rank: int) -> Array:
    return lowering.constant(node, index).reshape(1, -1, *(1,) * (rank - 2))


def lower_instance_norm(lowering: Lowering, node: Node) -> None:
    """Write InstanceNormalization: over the image, per sample and channel."""
    with AttributeReader(node) as attributes:
        epsilon = attributes.number("epsilon", _EPSILON)
    require_types(lowering, node)
    source = lowering.read(node)
    rank = len(source.shape)
    if rank > IMAGE_RANK:
        raise node.refuse(f"{rank} axes are not supported", SUGGESTION)
    centred, _, inverse = _statistics(lowering, source, range(2, rank), epsilon)
    normal = binary(lowering, "MUL", centred, inverse)
    scaled = binary(lowering, "MUL", normal, _per_channel(lowering, node, 1, rank))
    shift = _per_channel(lowering, node, 2, rank)
    binary(lowering, "ADD", scaled, shift, output(lowering, node, source.perm))


def lower_group_norm(lowering: Lowering, node: Node) -> None:
    """Write GroupNormalization: over the image and the channels of a group."""
    with AttributeReader(node) as attributes:
        epsilon = attributes.number("epsilon", _EPSILON)
        groups = attributes.integer("num_groups", 0)
        attributes.only("stash_type", 1)
    require_types(lowering, node)
    shape = lowering.graph.shape(node.inputs[0])
    rank, channels = len(shape), shape[1]
    if groups < 1 or channels % groups or rank > IMAGE_RANK:
        raise node.refuse(f"{groups} groups of {channels} channels on {rank} axes", SUGGESTION)
    last: Perm = (0, *range(2, rank), 1)
    source = lowering.read(node, 0, last)
    split = (shape[0], math.prod(shape[2:]), groups, channels // groups)
    centred, _, inverse = _statistics(lowering, reshape(lowering, source, split), (1, 3), epsilon)
    normal = lowering.temporary(shape, last)
    lowering.emit_reshape(binary(lowering, "MUL", centred, inverse), normal)
    numbers = [lowering.constant(node, index) for index in (1, 2)]
    if lowering.graph.opset < _PER_CHANNEL_OPSET:
        numbers = [np.repeat(array, channels // groups) for array in numbers]
    scale, shift = (array.reshape(1, -1, *(1,) * (rank - 2)) for array in numbers)
    scaled = binary(lowering, "MUL", normal, scale)
    binary(lowering, "ADD", scaled, shift, output(lowering, node, last))


def lower_mean_variance_norm(lowering: Lowering, node: Node) -> None:
    """Write MeanVarianceNormalization, ``(x - mean) / (deviation + 1e-9)``."""
    with AttributeReader(node) as attributes:
        axes = attributes.integers("axes", (0, 2, 3))
    require_types(lowering, node)
    source = lowering.read(node)
    rank = len(source.shape)
    if rank > IMAGE_RANK or any(not -rank <= axis < rank for axis in axes):
        raise node.refuse(f"axes {axes} of {rank} are not supported", SUGGESTION)
    over = tuple(sorted({axis % rank for axis in axes}))
    mean = reduce(lowering, "MEAN", source, over)
    centred = binary(lowering, "SUB", source, mean)
    variance = reduce(lowering, "MEAN", binary(lowering, "MUL", centred, centred), over)
    divisor = binary(lowering, "ADD", unary(lowering, "SQRT", variance), _VARIANCE_FLOOR)
    binary(lowering, "DIV", centred, divisor, output(lowering, node, source.perm))


def lower_lp_norm(lowering: Lowering, node: Node) -> None:
    """Write LpNormalization with p of 1 or 2; a norm of zero gives zeros."""
    rank = len(lowering.graph.shape(node.inputs[0]))
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", -1) % rank
        power = attributes.integer("p", 2)
    require_types(lowering, node)
    if power not in (1, 2) or rank > IMAGE_RANK:
        raise node.refuse(f"p={power} on {rank} axes is not supported", SUGGESTION)
    source = lowering.read(node)
    if power == 1:
        norm = reduce(lowering, "SUM", unary(lowering, "ABS", source), (axis,))
    else:
        square = binary(lowering, "MUL", source, source)
        norm = unary(lowering, "SQRT", reduce(lowering, "SUM", square, (axis,)))
    divisor = select(lowering, binary(lowering, "EQUAL", norm, 0.0), 1.0, norm)
    binary(lowering, "DIV", source, divisor, output(lowering, node, source.perm))


def _with_axis_last(lowering: Lowering, node: Node) -> tuple[Value, int]:
    """Return the input with the attribute ``axis`` stored last, and that axis."""
    rank = len(lowering.graph.shape(node.inputs[0]))
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", -1) % rank
    perm = lowering.layout_of(node.inputs[0])
    if perm[-1] != axis:
        perm = (*(other for other in range(rank) if other != axis), axis)
    return lowering.read(node, 0, perm), axis


def lower_log_softmax(lowering: Lowering, node: Node) -> None:
    """Write LogSoftmax along any axis."""
    require_types(lowering, node)
    source, _ = _with_axis_last(lowering, node)
    unary(lowering, "LOG_SOFTMAX", source, output(lowering, node, source.perm))


def lower_hardmax(lowering: Lowering, node: Node) -> None:
    """Write Hardmax: one at the first maximum along an axis, zero elsewhere."""
    require_types(lowering, node)
    source, axis = _with_axis_last(lowering, node)
    stored = source.stored_shape[:-1]
    place = lowering.temporary(stored, identity(len(stored)), INT32)
    last = whole(lowering, "axis", np.asarray(len(stored)))
    lowering.emit(
        "ARG_MAX", [source.tensor, last], place, ("ArgMaxOptions", {"outputType": "INT32"})
    )
    inputs = [place.tensor, whole(lowering, "depth", np.asarray(source.shape[axis]))]
    inputs += [lowering.raw_constant("level", np.asarray(v, np.float32)) for v in (1, 0)]
    result = output(lowering, node, source.perm)
    lowering.emit("ONE_HOT", inputs, result, ("OneHotOptions", {"axis": -1}))


def lower_prelu(lowering: Lowering, node: Node) -> None:
    """Write PRelu; the slopes are broadcast to the input."""
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    check_rank(lowering, node)
    rank = len(lowering.graph.shape(node.inputs[0]))
    perm = lowering.layout_of(node.inputs[0])
    constant = lowering.is_constant(node.inputs[1])
    if not constant:
        perm = identity(rank)
    source = lowering.read(node, 0, perm)
    if constant and perm:
        slopes = _slope_per_channel(lowering, node, source)
    else:
        slopes = broadcast_operand(lowering, node, 1, perm)
    binary(lowering, "PRELU", source, slopes, output(lowering, node, perm))


def _slope_per_channel(lowering: Lowering, node: Node, source: Value) -> Value:
    """Return constant slopes with one for every element of the axis that is stored last.

    XNNPACK in tflite-runtime 2.14 reads that many, however few there are.
    """
    array = _parameter(lowering, node, 1, source)
    last = source.perm[-1]
    shape = [source.shape[i] if i == last else size for i, size in enumerate(array.shape)]
    grid = lowering.grid(node.inputs[1]) if lowering.is_integer(node) else None
    full = np.ascontiguousarray(np.broadcast_to(array, shape))
    return lowering.add_constant(node.inputs[1], full, source.perm, grid)


def lower_lrn(lowering: Lowering, node: Node) -> None:
    """Write LRN with an odd size as LOCAL_RESPONSE_NORMALIZATION across channels."""
    with AttributeReader(node) as attributes:
        size = attributes.integer("size", 0)
        alpha = attributes.number("alpha", 1e-4)
        beta = attributes.number("beta", 0.75)
        bias = attributes.number("bias", 1.0)
    require_types(lowering, node)
    rank = len(lowering.graph.shape(node.inputs[0]))
    if size < 1 or size % 2 == 0 or rank != IMAGE_RANK:
        raise node.refuse(f"size {size} on {rank} axes is not supported", SUGGESTION)
    source = lowering.read(node, 0, (0, 2, 3, 1))
    options = {"radius": (size - 1) // 2, "bias": bias, "alpha": alpha / size, "beta": beta}
    result = output(lowering, node, source.perm)
    lowering.emit(
        "LOCAL_RESPONSE_NORMALIZATION",
        [source.tensor],
        result,
        ("LocalResponseNormalizationOptions", options),
    )
