"""Scale the channels between two convolutions alike; the float function does not change.

A channel may be divided by any positive number in one layer and multiplied by it in the next,
as long as what lies between treats channels apart and is positively homogeneous. Channels
that share a grid then use all of it.

Source: Nagel et al. 2019, "Data-free quantization", section 4.1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Feeds, as_floats
from converters.graph import Graph, Node, fresh_name, tensor_names
from converters.quant.operators import clip_bounds
from converters.segments import SegmentedModel, cuts_by_memory

HOMOGENEOUS: Final = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity"}
)
"""``f(s x) = s f(x)`` for positive ``s``, channel by channel. Not ReLU6, whose bound would
have to move with each channel, nor SiLU, HardSwish, sigmoid or tanh, which are curved."""

MAX_FACTOR: Final = 256.0
"""Bound on what a channel is scaled by, so that nothing vanishes in float16 or int32."""

NEGLIGIBLE: Final = 1e-6
"""Channels so small beside the largest of their layer carry nothing."""

ROUNDS: Final = 12
"""Layers in a row influence each other; after so many rounds nothing moves any more."""

Magnitudes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two convolutions whose channels can be scaled against each other.

    Attributes:
        first: Name of the layer that makes the channels.
        between: The tensor that the second layer reads.
        second: Name of the layer that reads them.
    """

    first: str
    between: str
    second: str


def find_pairs(graph: Graph) -> tuple[Pair, ...]:
    """Return all pairs, in the graph's order."""
    readers = graph.consumers()
    pairs: list[Pair] = []
    for node in graph.nodes:
        if not _is_scalable(graph, node):
            continue
        tensor = node.outputs[0]
        follower = graph.sole_consumer(tensor, readers)
        while follower is not None and _commutes(graph, follower, tensor):
            tensor = follower.outputs[0]
            follower = graph.sole_consumer(tensor, readers)
        if follower is None or follower.inputs[0] != tensor:
            continue
        channels = graph.shape(tensor)[1]
        if _is_scalable(graph, follower) and _groups(follower) in (1, channels):
            pairs.append(Pair(node.name, tensor, follower.name))
    return tuple(pairs)


def channel_magnitudes(
    graph: Graph, pairs: Sequence[Pair], samples: Iterable[Feeds]
) -> dict[str, Magnitudes]:
    """Return the largest absolute value of every channel between the pairs, by tensor name."""
    watched = {pair.between for pair in pairs}
    found: dict[str, Magnitudes] = {}
    model = SegmentedModel(graph, cuts_by_memory(graph, watched), watched)
    for feeds in samples:
        for made in model.run(feeds):
            for name in watched & set(made):
                value = np.abs(made[name].astype(np.float64))
                others = tuple(axis for axis in range(value.ndim) if axis != 1)
                largest = value.max(axis=others)
                found[name] = np.maximum(found.get(name, 0.0), largest)
    return found


def equalize(
    graph: Graph, pairs: Sequence[Pair], limits: Mapping[str, Magnitudes] | None = None
) -> Graph:
    """Return ``graph`` with the weights of all pairs balanced; it computes the same function.

    Meant for weights with one scale per tensor; ``channel_scaling`` is for one per channel.

    Args:
        graph: A float graph.
        pairs: From ``find_pairs``.
        limits: From ``channel_magnitudes``: no channel may come to exceed the largest of its
            tensor. Without it, channels whose weights are next to nothing beside their bias
            are blown up, and the grid of the tensor with them.
    """
    weights = _Weights.of(graph, pairs)
    seen = {name: value.copy() for name, value in (limits or {}).items()}
    for _ in range(ROUNDS):
        for pair in pairs:
            factor = _factor(weights.made(pair.first), weights.read(pair.second))
            if limits is not None:
                factor = np.maximum(factor, _least_factor(seen[pair.between]))
            weights.scale(pair, factor)
            if pair.between in seen:
                seen[pair.between] = seen[pair.between] / factor
    return weights.graph()


def _counts(magnitudes: Magnitudes) -> npt.NDArray[np.bool_]:
    return np.asarray(magnitudes > NEGLIGIBLE * magnitudes.max(initial=0.0))


def _least_factor(magnitudes: Magnitudes) -> Magnitudes:
    """Return what each channel must at least be divided by to stay below the largest one."""
    largest = float(magnitudes.max(initial=0.0))
    if largest <= 0.0:
        return np.full_like(magnitudes, 1.0 / MAX_FACTOR)
    return np.maximum(magnitudes / largest, 1.0 / MAX_FACTOR)


def _factor(made: Magnitudes, read: Magnitudes) -> Magnitudes:
    """Return what to divide each channel by; 1 for channels next to nothing.

    Folding a BatchNorm leaves weights such as 1e-30 in channels that training gave up; balancing
    those would move all others by as much.
    """
    alive = _counts(made) & _counts(read)
    if not alive.any():
        return np.ones_like(made)
    ratio = np.sqrt(np.where(alive, made, 1.0) / np.where(alive, read, 1.0))
    # Scaling all channels alike changes nothing: the middle one stays.
    middle = float(np.exp(np.mean(np.log(ratio[alive]))))
    bounded = np.clip(ratio / middle, 1.0 / MAX_FACTOR, MAX_FACTOR)
    return np.where(alive, bounded, 1.0)


@dataclass(slots=True)
class _Weights:
    """Weights and biases of the layers of all pairs, in float64, as they are being scaled."""

    source: Graph
    layers: dict[str, Node]
    weights: dict[str, npt.NDArray[np.float64]]
    biases: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def of(cls, graph: Graph, pairs: Sequence[Pair]) -> "_Weights":
        names = {name for pair in pairs for name in (pair.first, pair.second)}
        layers = {node.name: node for node in graph.nodes if node.name in names}
        return cls(
            graph,
            layers,
            {n: graph.constants[x.inputs[1]].astype(np.float64) for n, x in layers.items()},
            {
                n: graph.constants[x.inputs[2]].astype(np.float64)
                for n, x in layers.items()
                if x.optional_input(2)
            },
        )

    def is_depthwise(self, layer: str) -> bool:
        return _groups(self.layers[layer]) > 1

    def made(self, layer: str) -> Magnitudes:
        """Return the largest weight of every output channel."""
        value = np.abs(self.weights[layer])
        return np.asarray(value.reshape(value.shape[0], -1).max(axis=1))

    def read(self, layer: str) -> Magnitudes:
        """Return the largest weight of every input channel."""
        value = np.abs(self.weights[layer])
        if self.is_depthwise(layer):
            return np.asarray(value.reshape(_groups(self.layers[layer]), -1).max(axis=1))
        return np.asarray(value.max(axis=(0, *range(2, value.ndim))))

    def scale(self, pair: Pair, factor: Magnitudes) -> None:
        """Divide the channels that the first layer makes; multiply where they are read."""
        first, second = self.weights[pair.first], self.weights[pair.second]
        self.weights[pair.first] = first / _along(factor, 0, first.ndim)
        if pair.first in self.biases:
            self.biases[pair.first] = self.biases[pair.first] / factor
        if self.is_depthwise(pair.second):
            each = second.shape[0] // factor.size
            spread = _along(np.repeat(factor, each), 0, second.ndim)
        else:
            spread = _along(factor, 1, second.ndim)
        self.weights[pair.second] = second * spread

    def graph(self) -> Graph:
        """Return the source with the scaled weights and biases."""
        readers = self.source.consumers()
        taken = tensor_names(self.source)
        constants: dict[str, Array] = dict(self.source.constants)

        def store(name: str, value: npt.NDArray[np.float64]) -> str:
            if len(readers[name]) > 1 or name in self.source.outputs:
                name = fresh_name(f"{name}_equalized", taken)
                taken.add(name)
            constants[name] = as_floats(value)
            return name

        nodes: list[Node] = []
        for node in self.source.nodes:
            if node.name not in self.layers:
                nodes.append(node)
                continue
            inputs = list(node.inputs)
            inputs[1] = store(inputs[1], self.weights[node.name])
            if node.name in self.biases:
                inputs[2] = store(inputs[2], self.biases[node.name])
            nodes.append(replace(node, inputs=tuple(inputs)))
        return replace(self.source, nodes=tuple(nodes), constants=constants)


def _along(factor: Magnitudes, axis: int, rank: int) -> Magnitudes:
    return factor.reshape([-1 if i == axis else 1 for i in range(rank)])


def _groups(node: Node) -> int:
    groups = node.attributes.get("group", 1)
    return groups if isinstance(groups, int) else 1


def _is_scalable(graph: Graph, node: Node) -> bool:
    """Whether ``node`` is a convolution whose weights may be changed here."""
    if node.op != "Conv" or node.domain:
        return False
    return all(name in graph.constants for name in node.inputs[1:3] if name)


def _commutes(graph: Graph, node: Node, tensor: str) -> bool:
    """Whether scaling the channels of ``tensor`` before or after ``node`` is the same."""
    if node.domain or node.inputs[0] != tensor or any(node.outputs[1:]):
        return False
    if node.op == "PRelu":
        return node.inputs[1] in graph.constants
    return node.op in HOMOGENEOUS or clip_bounds(graph, node) == (0.0, np.inf)
