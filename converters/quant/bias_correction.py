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
from converters.segments import SegmentedModel, slices

CORRECTED_OPS: Final = frozenset({"Conv", "Gemm"})
"""Layers with a bias, or room for one, and channels on axis 1 of the output."""

MAX_ALIVE_BYTES: Final = 64 << 20
"""Tensors held between layers for all samples together."""

MAX_SAMPLES: Final = 16
MIN_SAMPLES: Final = 2

LEAST_SHARE: Final = 0.3
"""Share of a channel's squared error that its mean must explain. Below it the error depends
on the input: the mean is that of the background, and moving it would spoil what matters."""

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
    outputs = {quantized.nodes[place[layer.name]].outputs[0]: layer for layer in layers}
    shifts, reverted = _shifts(graph, quantized, cuts, outputs, chosen)
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
    count = min(MAX_SAMPLES, len(samples), max(1, MAX_ALIVE_BYTES // max(2 * widest, 1)))
    return list(samples[:: max(1, len(samples) // count)][:count]) if count else []


def _shifts(
    graph: Graph,
    quantized: Graph,
    cuts: Sequence[int],
    outputs: Mapping[str, Node],
    samples: Sequence[Feeds],
) -> tuple[dict[str, Means], list[str]]:
    """Return layer -> what its bias lacks, and the layers that are better left alone.

    All samples go through one layer before any goes on, so that each layer sees inputs
    that are corrected already. The float graph keeps step.

    Args:
        graph: The float graph.
        quantized: The same with pairs.
        cuts: Ends of the slices of ``quantized``, one behind each layer.
        outputs: Layer by the name of its output in ``quantized``.
        samples: Inputs.
    """
    place = {node.name: index for index, node in enumerate(graph.nodes)}
    exact_cuts = [place[layer.name] + 1 for layer in outputs.values()]
    exact = SegmentedModel(graph, exact_cuts, (layer.outputs[0] for layer in outputs.values()))
    model = SegmentedModel(quantized, cuts, outputs)
    shifts: dict[str, Means] = {}
    reverted: list[str] = []
    ways = [(exact.run(feeds), model.run(feeds)) for feeds in samples]
    for tensor, layer in outputs.items():
        steps = [(next(float_way), next(way)) for float_way, way in ways]
        errors = [_error(want[layer.outputs[0]], have[tensor]) for want, have in steps]
        shift = _shift(errors)
        if shift is None:
            reverted.append(layer.name)
            continue
        shifts[layer.name] = shift
        for _, have in steps:
            have[tensor] = as_floats(_plus(have[tensor], shift))
    return shifts, reverted


def _error(want: Array, have: Array) -> tuple[Means, Means]:
    """Return mean and mean square of float minus quantized, by channel."""
    error = want.astype(np.float64) - have.astype(np.float64)
    others = tuple(axis for axis in range(error.ndim) if axis != 1)
    return np.asarray(error.mean(axis=others)), np.asarray((error**2).mean(axis=others))


def _shift(errors: Sequence[tuple[Means, Means]]) -> Means | None:
    """Return what to add to each channel; ``None`` where nothing is worth it, or holds.

    Args:
        errors: Of each sample, mean and mean square by channel.
    """
    lacking = np.stack([mean for mean, _ in errors])
    mean, square = lacking.mean(axis=0), np.mean([square for _, square in errors], axis=0)
    constant = mean**2 >= LEAST_SHARE * square
    if not (constant & (square > 0)).any() or not _holds_elsewhere(lacking[:, constant]):
        return None
    return np.where(constant, mean, 0.0)


def _holds_elsewhere(lacking: Means) -> bool:
    """Whether the shift found on every second sample helps the samples between them.

    Args:
        lacking: Float minus quantized mean, ``(samples, channels)``.
    """
    found, left = lacking[::2].mean(axis=0), lacking[1::2]
    return bool(np.sum((left - found) ** 2) < np.sum(left**2))


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
