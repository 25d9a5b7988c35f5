"""Scale all channels that share a grid alike; the float function does not change.

Joined, split and summed tensors too: a grid over a Concat of a strong and a weak branch leaves
the weak one a few steps, unless the layers around it divide and multiply its channels.

Source: Nagel et al. 2019, "Data-free quantization", section 4.1, here for ranges of activations
and over whole classes of channels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Feeds, as_floats
from converters.graph import Graph, Node, fresh_name, tensor_names
from converters.quant.channel_classes import ChannelClasses, find_classes, is_depthwise
from converters.quant.planner import fused_activations
from converters.segments import SegmentedModel, cuts_by_memory

MAX_FACTOR: Final = 256.0
"""Bound on what a channel is scaled by, so that nothing vanishes in float16 or int32."""

NEGLIGIBLE: Final = 1e-6
"""Channels so small beside the largest of their tensor or layer carry nothing."""

ROUNDS: Final = 3
"""The weights' ranges depend on the factors themselves; they settle at once."""

Doubles = npt.NDArray[np.float64]


def can_scale(graph: Graph) -> bool:
    """Whether ``graph`` has channels between convolutions that can be scaled."""
    classes = find_classes(graph)
    return bool(classes.layers) and bool(classes.free.any())


def scale_channels(graph: Graph, samples: Iterable[Feeds]) -> Graph:
    """Return ``graph`` with its channels scaled; it computes the same function.

    Meant for weights with one scale per output channel: only inputs of layers and activations
    share scales then. A channel is divided by the root of its range over that of the weights
    that read it, which spreads the loss evenly over both.

    Args:
        graph: A float graph.
        samples: A few, to see the ranges of channels on.
    """
    classes = find_classes(graph)
    own = _magnitudes(graph, classes, samples)
    weights = {n.name: graph.constants[n.inputs[1]].astype(np.float64) for n in classes.layers}
    factors = np.ones(classes.count)
    for _ in range(ROUNDS):
        factors = _factors(classes, own, _reading(classes, weights, factors))
    return _scaled(graph, classes, weights, factors)


def _magnitudes(graph: Graph, classes: ChannelClasses, samples: Iterable[Feeds]) -> Doubles:
    """Return the largest absolute value of every class over the tensors that have a grid."""
    fused = fused_activations(graph)
    inner = {node.outputs[0] for node in graph.nodes if node.name in fused}
    watched = {
        name
        for name, ids in classes.ids.items()
        if name not in inner and name not in graph.inputs and classes.free[ids].any()
    }
    found = np.zeros(classes.count)
    model = SegmentedModel(graph, cuts_by_memory(graph, watched), watched)
    for feeds in samples:
        for made in model.run(feeds):
            for name in watched.intersection(made):
                value = np.abs(made[name].astype(np.float64))
                others = tuple(axis for axis in range(value.ndim) if axis != 1)
                np.maximum.at(found, classes.ids[name], value.max(axis=others))
    return found


def _reading(classes: ChannelClasses, weights: Mapping[str, Array], factors: Doubles) -> Doubles:
    """Return the largest weight that reads each class, as share of its output channel's.

    A depthwise layer has a scale for each channel: it reads all alike, and tells nothing.
    """
    found = np.zeros(classes.count)
    for node in classes.layers:
        if is_depthwise(node):
            continue
        ids = classes.ids[node.inputs[0]]
        value = np.abs(weights[node.name])
        value = value.max(axis=tuple(range(2, value.ndim)), initial=0.0) * factors[ids]
        share = value / np.maximum(value.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        np.maximum.at(found, ids, share.max(axis=0))
    return found / factors


def _factors(classes: ChannelClasses, own: Doubles, reading: Doubles) -> Doubles:
    """Return what to divide each class by; 1 for classes that are held.

    Folding a BatchNorm leaves weights such as 1e-30 in channels that training gave up:
    those go with the mean.
    """
    alive = classes.free & (own > NEGLIGIBLE * own.max(initial=0.0))
    if not alive.any():
        return np.ones(classes.count)
    known = reading > NEGLIGIBLE * reading.max(initial=0.0)
    ratio = np.where(alive, own, 1.0) / np.where(known, reading, 1.0)
    factors = np.sqrt(ratio)
    middle = float(np.exp(np.mean(np.log(factors[alive]))))
    bounded = np.clip(factors, middle / MAX_FACTOR, middle * MAX_FACTOR)
    return np.where(classes.free, np.where(alive, bounded, middle), 1.0)


def _scaled(
    graph: Graph, classes: ChannelClasses, weights: Mapping[str, Doubles], factors: Doubles
) -> Graph:
    """Return ``graph`` with each class divided where it is made, multiplied where it is read."""
    readers = graph.consumers()
    taken = tensor_names(graph)
    constants: dict[str, Array] = dict(graph.constants)

    def store(name: str, value: Doubles) -> str:
        if len(readers[name]) > 1 or name in graph.outputs:
            name = fresh_name(f"{name}_equalized", taken)
            taken.add(name)
        constants[name] = as_floats(value)
        return name

    layers = {node.name for node in classes.layers}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name not in layers:
            nodes.append(node)
            continue
        made, read = factors[classes.ids[node.outputs[0]]], factors[classes.ids[node.inputs[0]]]
        value = weights[node.name]
        value = value / _along(made, 0, value.ndim)
        if is_depthwise(node):
            value = value * _along(np.repeat(read, made.size // read.size), 0, value.ndim)
        else:
            value = value * _along(read, 1, value.ndim)
        inputs = list(node.inputs)
        inputs[1] = store(inputs[1], value)
        if node.optional_input(2):
            inputs[2] = store(inputs[2], graph.constants[inputs[2]].astype(np.float64) / made)
        nodes.append(replace(node, inputs=tuple(inputs)))
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _along(factor: Doubles, axis: int, rank: int) -> Doubles:
    return factor.reshape([-1 if i == axis else 1 for i in range(rank)])
