"""Rank layers by how much quantizing each alone disturbs the model's answer.

One pass: groups of neighbouring layers are measured first, and only groups that matter are
taken apart. What lies before a group is not computed again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from converters.arrays import Array, Feeds
from converters.graph import Graph, Node
from converters.quant.noise import answers, head_tensors, mean_noise, with_outputs
from converters.quant.observe import Range
from converters.quant.operators import WEIGHTED, multiply_accumulates
from converters.quant.plan import QuantPlan
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import insert_pairs
from converters.segments import slices
from edgeops.errors import ConversionError

GROUP: Final = 8
"""Neighbouring layers that are measured together at first."""

UNSEEN_NOISE: Final = 0.02
"""Groups that together make less than this share of all noise are not taken apart."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How one layer alone disturbs the answer.

    Attributes:
        node: Name of the layer.
        noise: Squared error over variance at the model's heads; 0.01 is 20 dB.
        macs: Multiply-accumulates of the layer: what keeping it float costs in time.
        parameters: Weights of the layer: what keeping it float costs in size.
        estimated: The noise is the group's, spread evenly: too little to look closer.
    """

    node: str
    noise: float
    macs: int
    parameters: int = 0
    estimated: bool = False


def rank_layers(
    graph: Graph, ranges: Mapping[str, Range], samples: Sequence[Feeds]
) -> tuple[Sensitivity, ...]:
    """Return every layer with weights, most sensitive first; ties by name.

    Files are run in float arithmetic (pairs computed as written), so the figures do not
    depend on the machine's integer kernels.

    Args:
        graph: The float graph.
        ranges: Calibrated ranges.
        samples: 4 to 8 are enough to rank.

    Raises:
        ConversionError: There is no sample.
    """
    if not samples:
        raise ConversionError("there is no sample to rank layers on")
    heads = head_tensors(graph)
    expected = answers(with_outputs(graph, heads), samples)
    plan = plan_quantization(graph, ranges)
    layers = tuple(n.name for n in graph.nodes if _is_layer(n) and n.name in plan.quantized)
    scan = _Scan(graph, plan, heads, expected)
    groups = [layers[i : i + GROUP] for i in range(0, len(layers), GROUP)]
    coarse = dict(zip(groups, scan.measure(groups, samples), strict=True))
    close = _worth_a_look(coarse)
    singles = [(name,) for group in groups if group in close for name in group]
    fine = dict(zip(singles, scan.measure(singles, samples), strict=True))
    found: list[Sensitivity] = []
    nodes = {node.name: node for node in graph.nodes}
    for group in groups:
        for name in group:
            node = nodes[name]
            found.append(
                Sensitivity(
                    name,
                    fine[(name,)] if group in close else coarse[group] / len(group),
                    multiply_accumulates(graph, node),
                    int(graph.constants[node.inputs[1]].size),
                    estimated=group not in close,
                )
            )
    return tuple(sorted(found, key=lambda layer: (-layer.noise, layer.node)))


def by_worth(ranking: Sequence[Sensitivity]) -> tuple[str, ...]:
    """Return the layers in the order in which to keep them float.

    Noise per size, where a layer costs its parameters and, fixed, as much as an average
    layer: of two layers that disturb alike the small one goes first, but no tiny layer
    overtakes the one that ruins the model.
    """
    average = sum(layer.parameters for layer in ranking) / max(len(ranking), 1)
    worth = {layer.node: layer.noise / (average + layer.parameters or 1.0) for layer in ranking}
    return tuple(sorted(worth, key=lambda name: (-worth[name], name)))


def alone(graph: Graph, plan: QuantPlan, layers: Iterable[str]) -> QuantPlan:
    """Return the part of ``plan`` that has only ``layers`` in integers, on the same grids.

    What they feed alone, such as the sigmoid and product of a SiLU, belongs to them. A
    Concat or sum with other tensors does not: their noise is not these layers'.
    """
    chosen = set(layers)
    made: set[str] = set()
    for node in graph.nodes:
        data = [name for name in node.inputs if name and name not in graph.constants]
        follows = not _is_layer(node) and data and all(name in made for name in data)
        if node.name in plan.quantized and (node.name in chosen or follows):
            chosen.add(node.name)
            made.update(node.outputs)
    touched = {
        name
        for node in graph.nodes
        if node.name in chosen
        for name in (*node.inputs, *node.outputs)
    }
    grids = {name: grid for name, grid in plan.tensors.items() if name in touched}
    return replace(plan, quantized=frozenset(chosen), tensors=grids)


def _is_layer(node: Node) -> bool:
    return node.op in WEIGHTED and not node.domain


def _worth_a_look(coarse: Mapping[tuple[str, ...], float]) -> frozenset[tuple[str, ...]]:
    """Return the groups that hold all noise but a small rest."""
    total = sum(coarse.values())
    close: list[tuple[str, ...]] = []
    seen = 0.0
    for group in sorted(coarse, key=lambda names: (-coarse[names], names)):
        if seen >= (1.0 - UNSEEN_NOISE) * total:
            break
        close.append(group)
        seen += coarse[group]
    return frozenset(close)


@dataclass(frozen=True, slots=True)
class _Scan:
    """Measures the noise of groups of layers, computing only what follows them."""

    graph: Graph
    plan: QuantPlan
    heads: tuple[str, ...]
    expected: Sequence[Mapping[str, Array]]

    def measure(
        self, groups: Sequence[tuple[str, ...]], samples: Sequence[Feeds]
    ) -> Iterator[float]:
        """Yield the noise of each group; groups come in the order of the graph."""
        place = {node.name: index for index, node in enumerate(self.graph.nodes)}
        alive: list[Feeds] = [dict(sample) for sample in samples]
        done = 0
        for group in groups:
            start = min(place[name] for name in group)
            if start - done >= GROUP:
                alive = self._advance(alive, done, start)
                done = start
            yield self._noise(group, alive, done)

    def _advance(self, alive: Sequence[Feeds], done: int, start: int) -> list[Feeds]:
        """Return the tensors that cross ``start``, from those that cross ``done``."""
        rest = self._from(done)
        parts = slices(rest, (start - done,), frozenset())
        if len(parts) == 1:  # nothing before the cut matters any more
            return list(alive)
        first, then = parts
        made = answers(first, [_fed(first, sample) for sample in alive])
        return [_fed(then, sample | new) for sample, new in zip(alive, made, strict=True)]

    def _noise(self, group: tuple[str, ...], alive: Sequence[Feeds], done: int) -> float:
        rest = self._from(done)
        plan = alone(self.graph, self.plan, group)
        found = answers(insert_pairs(rest, plan), [_fed(rest, sample) for sample in alive])
        expected = [{name: want[name] for name in rest.outputs} for want in self.expected]
        return mean_noise(expected, found) * len(rest.outputs) / len(self.heads)

    def _from(self, start: int) -> Graph:
        """Return the graph from node ``start`` on, with the heads that it still makes."""
        whole = with_outputs(self.graph, self.heads)
        if not start:
            return whole
        return slices(whole, (start,), frozenset())[-1]


def _fed(graph: Graph, tensors: Feeds) -> Feeds:
    return {name: tensors[name] for name in graph.inputs}
