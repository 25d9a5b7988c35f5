"""Fold per-channel arithmetic into the weights of the layer before it.

At inference BatchNormalization is ``scale * x + shift`` per channel (Ioffe and Szegedy
2015, eq. after algorithm 2). After a convolution or matrix product that nobody else
reads it costs nothing; elsewhere it becomes one Mul and one Add.
"""

from dataclasses import dataclass, replace

import numpy as np

from converters.arrays import LARGEST_WEIGHT, Floats, as_floats
from converters.attributes import AttributeReader
from converters.graph import Graph, Node, fresh_name, prune_unused, tensor_names

_DEFAULT_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class _Affine:
    """``scale * x + shift`` per channel; both float64 ``(channels,)`` for exact folding."""

    scale: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    shift: np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def fold_affine(graph: Graph) -> Graph:
    """Return ``graph`` with BatchNormalization and per-channel Add and Mul folded away."""
    graph = _split_norms(graph)
    while (folded := _fold_one(graph)) is not None:
        graph = folded
    return prune_unused(graph)


def _split_norms(graph: Graph) -> Graph:
    """Write every BatchNormalization as Mul and Add with constants ``(C, 1, 1…)``."""
    nodes: list[Node] = []
    constants = dict(graph.constants)
    types = dict(graph.types)
    taken = tensor_names(graph)
    for node in graph.nodes:
        affine = _norm_numbers(graph, node) if node.op == "BatchNormalization" else None
        if affine is None:
            nodes.append(node)
            continue
        rank = len(graph.shape(node.inputs[0]))
        shape = (-1,) + (1,) * (rank - 2)
        factor, offset = (
            fresh_name(f"{node.name}_scale", taken),
            fresh_name(f"{node.name}_shift", taken),
        )
        middle = fresh_name(f"{node.name}_scaled", taken)
        taken |= {factor, offset, middle}
        names = [fresh_name(f"{node.name}_{step}", taken) for step in ("mul", "add")]
        taken.update(names)
        constants[factor] = as_floats(affine.scale.reshape(shape))
        constants[offset] = as_floats(affine.shift.reshape(shape))
        types[middle] = graph.types[node.inputs[0]]
        nodes.append(
            Node(
                name=names[0],
                op="Mul",
                inputs=(node.inputs[0], factor),
                outputs=(middle,),
            )
        )
        nodes.append(
            Node(
                name=names[1],
                op="Add",
                inputs=(middle, offset),
                outputs=(node.outputs[0],),
            )
        )
    return replace(graph, nodes=tuple(nodes), constants=constants, types=types)


def _norm_numbers(graph: Graph, node: Node) -> _Affine | None:
    if len([name for name in node.outputs if name]) > 1:
        raise node.refuse("it is in training mode", "export the model in inference mode")
    names = node.inputs[1:5]
    if any(name not in graph.constants for name in names) or not graph.has_type(node.inputs[0]):
        return None
    with AttributeReader(node) as attributes:
        epsilon = attributes.number("epsilon", _DEFAULT_EPSILON)
        attributes.ignore("momentum", "spatial")
        attributes.only("training_mode", 0)
    scale, bias, mean, variance = (graph.constants[n].astype(np.float64) for n in names)
    if np.any(variance + epsilon <= 0):
        raise node.refuse("its variance is not positive", "the model is damaged")
    factor = scale / np.sqrt(variance + epsilon)
    if np.abs(factor).max(initial=0.0) > LARGEST_WEIGHT:
        raise node.refuse("its scale is too large for float32", "the model is damaged")
    return _Affine(factor, bias - mean * factor)


def _fold_one(graph: Graph) -> Graph | None:
    readers = graph.consumers()
    for node in graph.nodes:
        if node.op not in ("Conv", "Gemm") or node.domain:
            continue
        follower = graph.sole_consumer(node.outputs[0], readers)
        if follower is None or follower.op not in ("Mul", "Add") or follower.domain:
            continue
        affine = _affine_of(graph, node, follower)
        if affine is None or not _weights_are_constant(graph, node):
            continue
        if _fits(graph, node, affine.scale.size):
            return _absorb(graph, node, follower, affine)
    return None


def _fits(graph: Graph, node: Node, channels: int) -> bool:
    """Whether weights and bias have ``channels`` outputs; those of a damaged model may not."""
    weights = graph.constants[node.inputs[1]].shape
    axis = _channel_axis(node)
    if axis >= len(weights) or weights[axis] != channels:
        return False
    name = node.optional_input(2)
    bias = graph.constants[name].shape if name else (channels,)
    return bias == (channels,) or (node.op == "Gemm" and bias[-1:] in ((), (1,), (channels,)))


def _channel_axis(node: Node) -> int:
    """Return the axis of the outputs in the weights of a Conv or Gemm."""
    return 0 if node.op == "Conv" or node.attributes.get("transB", 0) == 1 else 1


def _weights_are_constant(graph: Graph, node: Node) -> bool:
    bias = node.optional_input(2)
    plain = node.op == "Conv" or not (set(node.attributes) - {"transB"})
    return plain and node.inputs[1] in graph.constants and (not bias or bias in graph.constants)


def _affine_of(graph: Graph, node: Node, follower: Node) -> _Affine | None:
    """Return what ``follower`` does per channel of ``node``, if that is all it does."""
    constant = next((name for name in follower.inputs if name in graph.constants), None)
    if constant is None or not graph.has_type(node.outputs[0]):
        return None
    shape = graph.shape(node.outputs[0])
    value = graph.constants[constant]
    if value.dtype != np.float32 or value.ndim > len(shape):
        return None
    full = (1,) * (len(shape) - value.ndim) + value.shape
    channels = shape[1]
    if full != tuple(full[1] if axis == 1 else 1 for axis in range(len(shape))):
        return None
    if full[1] not in (1, channels):
        return None
    numbers = np.broadcast_to(value.astype(np.float64).ravel(), (channels,))
    if follower.op == "Mul":
        return _Affine(numbers, np.zeros(channels))
    return _Affine(np.ones(channels), numbers)


def _absorb(graph: Graph, node: Node, follower: Node, affine: _Affine) -> Graph:
    taken = tensor_names(graph)
    weights = graph.constants[node.inputs[1]].astype(np.float64)
    axis = _channel_axis(node)
    shape = tuple(-1 if i == axis else 1 for i in range(weights.ndim))
    name = node.optional_input(2)
    bias = graph.constants[name].astype(np.float64) if name else np.zeros(affine.scale.shape)
    new_weights: Floats = as_floats(weights * affine.scale.reshape(shape))
    new_bias: Floats = as_floats(bias * affine.scale + affine.shift)
    weight_name = fresh_name(f"{node.name}_folded_weight", taken)
    bias_name = fresh_name(f"{node.name}_folded_bias", taken | {weight_name})
    merged = replace(
        node, inputs=(node.inputs[0], weight_name, bias_name), outputs=follower.outputs
    )
    return prune_unused(
        replace(
            graph,
            nodes=tuple(merged if n is node else n for n in graph.nodes if n is not follower),
            constants={**graph.constants, weight_name: new_weights, bias_name: new_bias},
        )
    )
