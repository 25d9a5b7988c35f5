"""Choose, tensor by tensor, the calibrated range that disturbs the next layers least."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from converters.arrays import Array, Feeds
from converters.graph import Graph, Node, TensorType
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.noise import answers, head_tensors, mean_noise, watch_heads, with_outputs
from converters.quant.observe import Range
from converters.quant.operators import WEIGHTED
from converters.quant.plan import asymmetric_grid
from converters.quant.planner import fused_activations, plan_quantization

SAME_RANGE: Final = 0.01
"""Ranges closer than this share of their width are one candidate."""

Ranges = Mapping[str, Range]

_SCALAR: Final = TensorType(np.dtype(np.float32), ())


def choose_ranges(
    graph: Graph, candidates: Sequence[Ranges], trials: Sequence[Ranges], feeds: Sequence[Feeds]
) -> dict[str, int]:
    """Return for every tensor which candidate makes the least noise on samples it never saw.

    First a mixture is made: for every tensor the method that does the least harm at the
    outputs of the layers that read it. Then the mixture has to beat each method on the
    whole quantized model, or the best of them is taken for all tensors.

    Args:
        graph: The float graph.
        candidates: Ranges of all tensors by one method each; the first is the default.
        trials: The same methods without ``feeds``: these are what is judged.
        feeds: A few samples.
    """
    harm = _local_harm(graph, trials, feeds)
    picked = {tensor: min(e, key=lambda index: (e[index], index)) for tensor, e in harm.items()}
    heads = head_tensors(graph)
    expected = answers(with_outputs(graph, heads), feeds)
    ways = [dict.fromkeys(candidates[0], index) for index in range(len(candidates))]
    best, least = ways[0], np.inf
    for way in (*ways, ways[0] | picked):
        plan = plan_quantization(graph, by_method(trials, way))
        noise = mean_noise(expected, answers(watch_heads(graph, plan, heads), feeds))
        if noise < least:
            best, least = way, noise
    return best


def by_method(candidates: Sequence[Ranges], way: Mapping[str, int]) -> dict[str, Range]:
    """Return each tensor's range by the candidate that ``way`` names for it."""
    return {tensor: candidates[index][tensor] for tensor, index in way.items()}


def _local_harm(
    graph: Graph, candidates: Sequence[Ranges], feeds: Sequence[Feeds]
) -> dict[str, dict[int, float]]:
    """Return tensor -> candidate -> squared error at the layers that read the tensor.

    One graph computes all of it: next to each layer it computes the same layer once per
    candidate, on an input that is quantized so. Only sums leave the runtime.
    """
    probes: dict[str, tuple[str, int]] = {}
    nodes: list[Node] = []
    constants: dict[str, Array] = {}
    fused = fused_activations(graph)
    activations = {node.name: node for node in graph.nodes if node.name in fused.values()}
    for node in graph.nodes:
        if node.op not in WEIGHTED or node.domain or node.inputs[0] not in candidates[0]:
            continue
        activation = activations.get(fused.get(node.name, ""))
        for index in _distinct(candidates, node.inputs[0]):
            stem = f"probe:{node.name}:{index}"
            limit = candidates[index][node.inputs[0]]
            added, stored = _probe(stem, node, activation, limit)
            nodes += added
            constants |= stored
            probes[stem] = (node.inputs[0], index)
    if not probes:
        return {}
    probed = replace(
        graph,
        nodes=(*graph.nodes, *nodes),
        constants={**graph.constants, **constants},
        types={**graph.types, **dict.fromkeys(probes, _SCALAR)},
        outputs=tuple(probes),
    )
    model = OrtModel(serialize(probed), fuse_pairs=False, shared_memory=True)
    harm: dict[str, dict[int, float]] = {}
    for sample in feeds:
        for stem, error in model.run(sample).items():
            tensor, index = probes[stem]
            errors = harm.setdefault(tensor, {})
            errors[index] = errors.get(index, 0.0) + float(np.sum(error.astype(np.float64)))
    return harm


def _distinct(candidates: Sequence[Ranges], tensor: str) -> list[int]:
    """Return the numbers of the candidates that differ for ``tensor``; the first of equals."""
    kept: list[int] = []
    for index, ranges in enumerate(candidates):
        limit = ranges[tensor]
        room = SAME_RANGE * candidates[0][tensor].width
        if not any(
            abs(limit.low - candidates[other][tensor].low) <= room
            and abs(limit.high - candidates[other][tensor].high) <= room
            for other in kept
        ):
            kept.append(index)
    return kept


def _probe(
    stem: str, layer: Node, activation: Node | None, limit: Range
) -> tuple[list[Node], dict[str, Array]]:
    """Return nodes whose output ``stem`` is the squared error of ``layer``, summed.

    Args:
        stem: Begin of all new names.
        layer: Reads the tensor in question as its first input.
        activation: What the runtime computes within the layer, if anything.
        limit: Range of the tensor's grid.
    """
    grid = asymmetric_grid(limit.low, limit.high)
    constants: dict[str, Array] = {
        f"{stem}:scale": np.asarray(grid.scale[0], np.float32),
        f"{stem}:zero": np.asarray(grid.zero_point[0], np.int8),
    }
    numbers = (f"{stem}:scale", f"{stem}:zero")
    source = layer.inputs[0]
    quantized, real, last = f"{stem}:quantized", f"{stem}:real", f"{stem}:layer"
    nodes = [
        _node("QuantizeLinear", (source, *numbers), quantized),
        _node("DequantizeLinear", (quantized, *numbers), real),
        replace(layer, name=last, inputs=(real, *layer.inputs[1:]), outputs=(last,)),
    ]
    exact = layer.outputs[0]
    if activation is not None:
        exact = activation.outputs[0]
        bounds = activation.inputs[1:]
        bounded = f"{stem}:activation"
        nodes.append(replace(activation, name=bounded, inputs=(last, *bounds), outputs=(bounded,)))
        last = bounded
    nodes.append(_node("Sub", (last, exact), f"{stem}:error"))
    total = _node("ReduceSumSquare", (f"{stem}:error",), stem)
    nodes.append(replace(total, attributes={"keepdims": 0}))
    return nodes, constants


def _node(op: str, inputs: tuple[str, ...], output: str) -> Node:
    return Node(name=output, op=op, inputs=inputs, outputs=(output,))
