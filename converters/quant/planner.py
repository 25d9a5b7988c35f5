"""Decide which nodes compute in integers and choose the grid of every tensor."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from converters.graph import Graph, Node
from converters.quant.observe import Range
from converters.quant.operators import (
    FIXED_GRID,
    FUSABLE_BOUNDS,
    SAME_GRID,
    WEIGHTED,
    can_be_integer,
    clip_bounds,
    multiply_accumulates,
)
from converters.quant.plan import Grid, QuantPlan, asymmetric_grid
from converters.quant.weights import bias_grid, weight_grid

CONCAT_MAX_RATIO: Final = 4.0
"""Inputs of a Concat share one grid unless the finest would lose more than two bits."""

_FUSING: Final = WEIGHTED | {"Add", "Mul", "Sub"}
_CHANNEL_AXIS: Final = {"Conv": 0, "Gemm": 0, "MatMul": 1}

SENSITIVE: Final = "kept float for accuracy"


def plan_quantization(
    graph: Graph,
    ranges: Mapping[str, Range],
    *,
    keep_float: Iterable[str] = (),
    only: Iterable[str] | None = None,
    per_channel: bool = True,
) -> QuantPlan:
    """Return the plan for ``graph``.

    Args:
        graph: A normalised float graph.
        ranges: Calibrated range of every float tensor.
        keep_float: Names of nodes that must not compute in integers.
        only: If given, the only layers with weights that may (for sensitivity scans).
        per_channel: One scale per output channel of weights, or one per tensor.
    """
    fused = fused_activations(graph)
    chosen, islands = _choose(graph, fused, frozenset(keep_float), only)
    tensors = _activation_grids(graph, ranges, chosen, fused)
    for node in graph.nodes:
        if node.name in chosen and node.op in WEIGHTED:
            tensors |= _parameter_grids(graph, node, tensors, per_channel=per_channel)
    return QuantPlan(
        tensors=dict(sorted(tensors.items())),
        quantized=frozenset(chosen),
        islands=islands,
        quantized_macs=_share(graph, chosen),
    )


def fused_activations(graph: Graph) -> dict[str, str]:
    """Return layer name -> name of the activation that runtimes compute within it."""
    readers = graph.consumers()
    fused: dict[str, str] = {}
    for node in graph.nodes:
        if node.op not in _FUSING or node.domain:
            continue
        follower = graph.sole_consumer(node.outputs[0], readers)
        if follower is not None and clip_bounds(graph, follower) in FUSABLE_BOUNDS:
            fused[node.name] = follower.name
    return fused


def _choose(
    graph: Graph, fused: Mapping[str, str], keep_float: frozenset[str], only: Iterable[str] | None
) -> tuple[set[str], dict[str, str]]:
    """Return the integer nodes, and the others with the reason.

    Layers with weights are worth it always. Other nodes follow only where they lie
    between such layers: before the first one or after the last, integers would save
    nothing, and one grid for a detector's boxes and scores would ruin the scores.
    """
    allowed = None if only is None else frozenset(only)
    upstream = _leads_to_layer(graph)
    integer_tensors = set(graph.inputs)
    inside = {activation: layer for layer, activation in fused.items()}
    chosen: set[str] = set()
    islands: dict[str, str] = {}
    for node in graph.nodes:
        reason = can_be_integer(graph, node)
        weighted = node.op in WEIGHTED
        if node.name in inside and not reason:
            reason = "" if inside[node.name] in chosen else "the layer before it is float"
        elif node.name in keep_float:
            reason = SENSITIVE
        elif not reason and weighted and allowed is not None and node.name not in allowed:
            reason = "left out"
        elif not reason and not weighted:
            if node.name not in upstream:
                reason = "no layer with weights follows"
            elif not any(name in integer_tensors for name in node.inputs):
                reason = "its inputs are float"
        if reason:
            islands[node.name] = reason
            continue
        chosen.add(node.name)
        integer_tensors.update(node.outputs)
    return _drop_lonely_entry(graph, chosen, islands)


def _leads_to_layer(graph: Graph) -> set[str]:
    """Return the names of the nodes from which a layer with weights can be reached."""
    wanted: set[str] = set()
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if any(output in wanted for output in node.outputs):
            found.add(node.name)
            wanted.update(node.inputs)
        if node.op in WEIGHTED and not node.domain:
            wanted.update(node.inputs)
    return found


def _drop_lonely_entry(
    graph: Graph, chosen: set[str], islands: dict[str, str]
) -> tuple[set[str], dict[str, str]]:
    """Put nodes back to float that no integer layer feeds or follows after all."""
    readers = graph.consumers()
    for node in reversed(graph.nodes):
        if node.name not in chosen or node.op in WEIGHTED:
            continue
        producers = graph.producers()
        feeds = any(r.name in chosen for out in node.outputs for r in readers.get(out, []))
        follows = any(n in producers and producers[n].name in chosen for n in node.inputs)
        if not feeds and not follows:
            chosen.discard(node.name)
            islands[node.name] = "no integer layer touches it"
    return chosen, dict(sorted(islands.items()))


class _Classes:
    """Tensors that must share a grid (union-find by name)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def join(self, a: str, b: str) -> None:
        first, second = self.root(a), self.root(b)
        if first != second:
            self._parent[second] = first


def _activation_grids(
    graph: Graph, ranges: Mapping[str, Range], chosen: set[str], fused: Mapping[str, str]
) -> dict[str, Grid]:
    classes = _Classes()
    names = _gridded(graph, chosen, fused)
    limits = {name: _range_of(graph, ranges, name) for name in names}
    fixed: dict[str, Grid] = {}

    def join(a: str, b: str) -> None:
        merged = limits[classes.root(a)].union(limits[classes.root(b)])
        grid = fixed.get(classes.root(a)) or fixed.get(classes.root(b))
        classes.join(a, b)
        limits[classes.root(a)] = merged
        if grid is not None:
            fixed[classes.root(a)] = grid

    for node in graph.nodes:
        if node.name not in chosen:
            continue
        if node.op in FIXED_GRID:
            fixed[classes.root(node.outputs[0])] = FIXED_GRID[node.op]
        elif node.op in SAME_GRID:
            join(node.inputs[0], node.outputs[0])
    for node in graph.nodes:
        if node.name not in chosen or node.op != "Concat":
            continue
        width = max(limits[classes.root(name)].width for name in node.inputs)
        for name in node.inputs:
            close = limits[classes.root(name)].width * CONCAT_MAX_RATIO >= width
            if close and classes.root(name) not in fixed:
                join(node.outputs[0], name)
    grids: dict[str, Grid] = {}
    for name in names:
        root = classes.root(name)
        limit = limits[root]
        grids[name] = fixed.get(root) or asymmetric_grid(limit.low, limit.high)
    return grids


def _gridded(graph: Graph, chosen: set[str], fused: Mapping[str, str]) -> list[str]:
    """Return the activations that need a grid, in the graph's order."""
    names: dict[str, None] = {}
    for node in graph.nodes:
        if node.name not in chosen:
            continue
        inputs = node.inputs[:1] if node.op in WEIGHTED | SAME_GRID else node.inputs
        if node.op == "Clip":
            inputs = node.inputs[:1]
        names |= dict.fromkeys(name for name in inputs if name)
        names[node.outputs[0]] = None
    inner = {
        node.outputs[0]
        for node in graph.nodes
        if node.name in chosen and fused.get(node.name) in chosen
    }
    return [name for name in names if name not in inner]


def _range_of(graph: Graph, ranges: Mapping[str, Range], name: str) -> Range:
    if name in graph.constants:
        values = graph.constants[name]
        return Range(float(np.min(values)), float(np.max(values)))
    return ranges[name]


def _parameter_grids(
    graph: Graph, node: Node, grids: Mapping[str, Grid], *, per_channel: bool
) -> dict[str, Grid]:
    input_scale = grids[node.inputs[0]].scale[0]
    weights = graph.constants[node.inputs[1]]
    bias = node.optional_input(2)
    axis = _CHANNEL_AXIS[node.op] if per_channel else None
    own = weight_grid(weights, graph.constants[bias] if bias else None, input_scale, axis)
    found = {node.inputs[1]: own}
    if bias:
        found[bias] = bias_grid(own, input_scale)
    return found


def _share(graph: Graph, chosen: set[str]) -> float:
    macs = {node.name: multiply_accumulates(graph, node) for node in graph.nodes}
    total = sum(macs.values())
    return sum(count for name, count in macs.items() if name in chosen) / total if total else 0.0
