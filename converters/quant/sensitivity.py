"""Rank layers by how much quantizing each alone disturbs the model's output."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converters.arrays import Array, Feeds
from converters.graph import Graph
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.observe import Range
from converters.quant.operators import WEIGHTED, multiply_accumulates
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from edgeops.errors import ConversionError


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How one layer alone disturbs the output.

    Attributes:
        node: Name of the layer.
        noise: Squared error at the outputs as a share of their energy; 0.01 is 20 dB.
        macs: Multiply-accumulates of the layer: what keeping it float costs.
    """

    node: str
    noise: float
    macs: int


def rank_layers(
    graph: Graph, ranges: Mapping[str, Range], samples: Sequence[Feeds]
) -> tuple[Sensitivity, ...]:
    """Return every layer with weights, most sensitive first; ties by name.

    One quantized file per layer is written and run on a handful of samples, in float
    arithmetic (pairs computed as written), so the figures do not depend on the machine's
    integer kernels.

    Args:
        graph: The float graph.
        ranges: Calibrated ranges.
        samples: 4 to 8 are enough to rank.

    Raises:
        ConversionError: There is no sample.
    """
    if not samples:
        raise ConversionError("there is no sample to rank layers on")
    reference = OrtModel(serialize(graph), optimize=False)
    expected = [reference.run(feeds) for feeds in samples]
    found: list[Sensitivity] = []
    for node in graph.nodes:
        if node.op not in WEIGHTED or node.domain:
            continue
        plan = plan_quantization(graph, ranges, only=(node.name,))
        if node.name not in plan.quantized:
            continue
        model = OrtModel(write_onnx_int8(graph, plan), optimize=False)
        noise = relative_noise(expected, (model.run(feeds) for feeds in samples))
        found.append(Sensitivity(node.name, noise, multiply_accumulates(graph, node)))
    return tuple(sorted(found, key=lambda layer: (-layer.noise, layer.node)))


def relative_noise(
    expected: Sequence[Mapping[str, Array]], found: Iterable[Mapping[str, Array]]
) -> float:
    """Return squared error over energy, summed over samples, worst of all outputs."""
    error: dict[str, float] = {}
    energy: dict[str, float] = {}
    for want, have in zip(expected, found, strict=True):
        for name, value in want.items():
            exact, given = value.astype(np.float64), have[name].astype(np.float64)
            error[name] = error.get(name, 0.0) + float(np.sum((exact - given) ** 2))
            energy[name] = energy.get(name, 0.0) + float(np.sum(exact**2))
    return max(error[name] / max(energy[name], 1e-12) for name in error)
