"""Decide which nodes compute in integers and choose the grid of every tensor."""

from collections.abc import Iterable, Mapping
from typing import Final

from converters.graph import Graph, Node
from converters.quant.feature_scaling import SCALED_IN_FLOAT, feature_scaling
from converters.quant.grids import activation_grids
from converters.quant.observe import Range
from converters.quant.operators import (
    CHANNEL_AXIS,
    FUSABLE_BOUNDS,
    WEIGHTED,
    can_be_integer,
    clip_bounds,
    multiply_accumulates,
)
from converters.quant.plan import ActivationForm, Grid, QuantPlan
from converters.quant.weights import (
    FULL_RANGE,
    MAX_BIAS_STEPS,
    MAX_WIDE_BIAS_STEPS,
    REDUCED_RANGE,
    bias_grid,
    weight_grid,
)

_FUSING: Final = frozenset({"Conv", "Gemm", "MatMul", "Add", "Mul", "Sub"})

SENSITIVE: Final = "kept float for accuracy"


def plan_quantization(
    graph: Graph,
    ranges: Mapping[str, Range],
    *,
    keep_float: Iterable[str] = (),
    only: Iterable[str] | None = None,
    per_channel: bool = True,
    activations: ActivationForm = "int8",
    integer_tail: bool = False,
    reduce_range: bool = False,
) -> QuantPlan:
    """Return the plan for ``graph``.

    Args:
        graph: A normalised float graph.
        ranges: Calibrated range of every float tensor.
        keep_float: Names of nodes that must not compute in integers.
        only: If given, the only layers with weights that may (for sensitivity scans).
        per_channel: One scale per output channel of weights, or one per tensor.
        activations: ``int16`` for TFLite's 16x8 kernels; weights are int8 in both.
        integer_tail: Whether nodes behind the last layer compute in integers too, which files
            with integer outputs need.
        reduce_range: Whether weights leave out their highest bit, for x86 without VNNI.
    """
    fused = fused_activations(graph)
    refusals = {node.name: can_be_integer(graph, node, activations) for node in graph.nodes}
    refusals |= dict.fromkeys(feature_scaling(graph), SCALED_IN_FLOAT)
    chosen, islands = _choose(
        graph, fused, refusals, frozenset(keep_float), only, integer_tail=integer_tail
    )
    tensors = activation_grids(graph, ranges, chosen, fused, activations)
    largest = REDUCED_RANGE if reduce_range else FULL_RANGE
    for node in graph.nodes:
        if node.name in chosen and node.op in WEIGHTED:
            tensors |= _parameter_grids(
                graph, node, tensors, per_channel=per_channel, largest=largest
            )
    return QuantPlan(
        tensors=dict(sorted(tensors.items())),
        quantized=frozenset(chosen),
        islands=islands,
        quantized_macs=_share_of_macs(graph, chosen),
        quantized_bytes=_share_of_bytes(graph, chosen, tensors),
        activations=activations,
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
    graph: Graph,
    fused: Mapping[str, str],
    refusals: Mapping[str, str],
    keep_float: frozenset[str],
    only: Iterable[str] | None,
    *,
    integer_tail: bool,
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
        reason = refusals[node.name]
        weighted = node.op in WEIGHTED
        if node.name in inside and not reason:
            reason = "" if inside[node.name] in chosen else "the layer before it is float"
        elif node.name in keep_float:
            reason = SENSITIVE
        elif not reason and weighted and allowed is not None and node.name not in allowed:
            reason = "left out"
        elif not reason and not weighted:
            if node.name not in upstream and not integer_tail:
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


def _parameter_grids(
    graph: Graph, node: Node, grids: Mapping[str, Grid], *, per_channel: bool, largest: int
) -> dict[str, Grid]:
    source = grids[node.inputs[0]]
    wide = source.dtype == "int16"
    weights = graph.constants[node.inputs[1]]
    bias = node.optional_input(2)
    axis = CHANNEL_AXIS[node.op] if per_channel else None
    own = weight_grid(
        weights,
        graph.constants.get(bias),
        source.scale[0],
        axis,
        largest=largest,
        largest_bias=MAX_WIDE_BIAS_STEPS if wide else MAX_BIAS_STEPS,
    )
    found = {node.inputs[1]: own}
    if bias:
        found[bias] = bias_grid(own, source.scale[0], "int64" if wide else "int32")
    return found


def _share_of_macs(graph: Graph, chosen: set[str]) -> float:
    macs = {node.name: multiply_accumulates(graph, node) for node in graph.nodes}
    total = sum(macs.values())
    return sum(count for name, count in macs.items() if name in chosen) / total if total else 0.0


def _share_of_bytes(graph: Graph, chosen: set[str], grids: Mapping[str, Grid]) -> float:
    """Return which share of the float constants' bytes integer nodes hold on grids."""
    total = done = 0
    for node in graph.nodes:
        for name in dict.fromkeys(node.inputs):
            value = graph.constants.get(name)
            if value is None or value.dtype.kind != "f" or value.size <= 1:
                continue  # single numbers are settings, such as the bounds of a Clip
            total += value.nbytes
            done += value.nbytes if node.name in chosen and name in grids else 0
    return done / total if total else 0.0
