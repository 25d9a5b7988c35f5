"""Move biases so that every integer layer's mean output is that of the float layer.

Rounding and clipping shift a channel's mean; the shift goes through the next layers and adds
up. The mean of float minus quantized over samples is the exact remedy for the mean, layer
after layer from front to back, each measured behind the corrected ones before it.

Source: Nagel et al. 2019, "Data-free quantization", section 4.2; here with data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Feeds, as_floats
from converters.graph import Graph, Node, fresh_name, tensor_names
from converters.onnx_format import elements, infer_types
from converters.quant.plan import QuantPlan
from converters.quant.write_onnx import insert_pairs
from converters.segments import SegmentedModel, cuts_by_memory, slices

CORRECTED_OPS: Final = frozenset({"Conv", "Gemm"})
"""Layers with a bias, or room for one, and channels on axis 1 of the output."""

MAX_ALIVE_BYTES: Final = 64 << 20
"""Tensors held between layers for all samples together."""

MAX_SAMPLES: Final = 16
MIN_SAMPLES: Final = 2

Means = npt.NDArray[np.float64]
"""Mean over space by sample and channel: ``(samples, channels)``."""


@dataclass(frozen=True, slots=True)
class BiasCorrection:
    """A graph with corrected biases.

    Attributes:
        graph: The same layers; a layer without bias may have got one.
        corrected: Names of the layers whose bias moved.
        reverted: Names of those where a correction found on one half of the samples made
            the other half worse.
    """

    graph: Graph
    corrected: tuple[str, ...]
    reverted: tuple[str, ...]


def correct_biases(graph: Graph, plan: QuantPlan, samples: Sequence[Feeds]) -> BiasCorrection:
    """Return ``graph`` with biases that undo the mean error of the layers quantized by ``plan``.

    Args:
        graph: The float graph that the plan was made for.
        plan: Grids; those of weights must be planned anew for the returned graph.
        samples: Calibration samples; at most 16 are used, fewer where tensors are large.
            With less than two nothing is corrected.
    """
    layers = tuple(
        node for node in graph.nodes if node.op in CORRECTED_OPS and node.name in plan.quantized
    )
    quantized = infer_types(insert_pairs(graph, plan))
    place = {node.name: index for index, node in enumerate(quantized.nodes)}
    cuts = tuple(place[layer.name] + 1 for layer in layers)
    chosen = _affordable(quantized, cuts, samples)
    if len(chosen) < MIN_SAMPLES or not layers:
        return BiasCorrection(graph, (), ())
    wanted = _float_means(graph, layers, chosen)
    outputs = {quantized.nodes[place[layer.name]].outputs[0]: layer.name for layer in layers}
    shifts, reverted = _shifts(quantized, cuts, outputs, wanted, chosen)
    return BiasCorrection(_shifted(graph, shifts), tuple(sorted(shifts)), tuple(sorted(reverted)))


def _affordable(graph: Graph, cuts: Sequence[int], samples: Sequence[Feeds]) -> list[Feeds]:
    """Return as many samples, evenly spread, as may be held between layers."""
    widest = max(
        (
            sum(elements(part.shape(name)) * part.dtype(name).itemsize for name in part.inputs)
            for part in slices(graph, cuts, frozenset())
        ),
        default=1,
    )
    count = min(MAX_SAMPLES, len(samples), max(1, MAX_ALIVE_BYTES // max(widest, 1)))
    return list(samples[:: max(1, len(samples) // count)][:count]) if count else []


def _float_means(
    graph: Graph, layers: Sequence[Node], samples: Sequence[Feeds]
) -> dict[str, Means]:
    names = {layer.outputs[0]: layer.name for layer in layers}
    model = SegmentedModel(graph, cuts_by_memory(graph, names), names)
    means: dict[str, list[Means]] = {layer.name: [] for layer in layers}
    for feeds in samples:
        for made in model.run(feeds):
            for tensor, value in made.items():
                if tensor in names:
                    means[names[tensor]].append(_channel_means(value))
    return {name: np.stack(rows) for name, rows in means.items()}


def _shifts(
    quantized: Graph,
    cuts: Sequence[int],
    outputs: Mapping[str, str],
    wanted: Mapping[str, Means],
    samples: Sequence[Feeds],
) -> tuple[dict[str, Means], list[str]]:
    """Return layer -> what its bias lacks, and the layers that are better left alone.

    All samples go through one layer before any goes on, so that each layer sees inputs
    that are corrected already.
    """
    model = SegmentedModel(quantized, cuts, outputs)
    shifts: dict[str, Means] = {}
    reverted: list[str] = []
    for step in zip(*(model.run(feeds) for feeds in samples), strict=True):
        for tensor in step[0]:
            if tensor not in outputs:
                continue
            layer = outputs[tensor]
            lacking = wanted[layer] - np.stack([_channel_means(made[tensor]) for made in step])
            if not _holds_elsewhere(lacking):
                reverted.append(layer)
                continue
            shifts[layer] = lacking.mean(axis=0)
            for made in step:
                made[tensor] = as_floats(_plus(made[tensor], shifts[layer]))
    return shifts, reverted


def _holds_elsewhere(lacking: Means) -> bool:
    """Whether the shift found on every second sample helps the samples between them.

    Args:
        lacking: Float minus quantized mean, ``(samples, channels)``.
    """
    found, left = lacking[::2].mean(axis=0), lacking[1::2]
    return bool(np.sum((left - found) ** 2) < np.sum(left**2))


def _channel_means(value: Array) -> Means:
    others = tuple(axis for axis in range(value.ndim) if axis != 1)
    return np.asarray(value.astype(np.float64).mean(axis=others))


def _plus(value: Array, shift: Means) -> npt.NDArray[np.float64]:
    shape = (1, -1) + (1,) * (value.ndim - 2)
    return value.astype(np.float64) + shift.reshape(shape)


def _shifted(graph: Graph, shifts: Mapping[str, Means]) -> Graph:
    """Return ``graph`` with ``shifts`` added to the layers' biases."""
    readers = graph.consumers()
    taken = tensor_names(graph)
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name not in shifts:
            nodes.append(node)
            continue
        bias = node.optional_input(2)
        before = constants[bias].astype(np.float64) if bias else np.float64(0)
        own = bias and len(readers[bias]) == 1 and bias not in graph.outputs
        name = bias if own else fresh_name(f"{node.name}_bias", taken)
        taken.add(name)
        constants[name] = as_floats(before + shifts[node.name])
        nodes.append(replace(node, inputs=(*node.inputs[:2], name)))
    return replace(graph, nodes=tuple(nodes), constants=constants)
