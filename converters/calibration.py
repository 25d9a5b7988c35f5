"""Run representative samples through the float graph and return every tensor's range.

Samples stream: one is in memory at a time, and a tensor costs at most one histogram.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from converters.arrays import Feeds
from converters.graph import Graph
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.observe import Histogram, MinMax, Range
from edgeops.errors import ConversionError

CalibrationMethod = Literal["minmax", "percentile", "mse"]

PERCENTILE: Final = 0.9999

Samples = Callable[[], Iterable[Feeds]]
"""Gives the calibration samples anew at every call: histograms need a second pass."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Ranges by tensor name, and how many samples they rest on."""

    ranges: Mapping[str, Range]
    samples: int
    method: CalibrationMethod


def calibrate(graph: Graph, samples: Samples, method: CalibrationMethod = "minmax") -> Calibration:
    """Return the range of every float tensor of ``graph`` that is not a constant.

    Raises:
        ConversionError: There is no sample, or a tensor takes values that are no numbers.
    """
    tensors = _float_tensors(graph)
    model = OrtModel(serialize(_tapped(graph, tensors)))
    wanted = [name for name in tensors if name not in graph.inputs]
    limits = {name: MinMax() for name in tensors}
    count = 0
    for feeds in samples():
        count += 1
        for name, value in {**model.run(feeds, wanted), **feeds}.items():
            if name in limits:
                limits[name].add(value)
    if count == 0:
        raise ConversionError("there is no calibration sample")
    for name, limit in limits.items():
        if limit.not_finite:
            raise ConversionError(
                f"tensor {name!r} takes {limit.not_finite} infinite or undefined values on the "
                "calibration samples: check the samples and their pre-processing"
            )
    ranges = {name: limit.range() for name, limit in limits.items()}
    if method == "minmax":
        return Calibration(ranges, count, method)
    histograms = {name: Histogram(ranges[name]) for name in tensors}
    for feeds in samples():
        for name, value in {**model.run(feeds, wanted), **feeds}.items():
            if name in histograms:
                histograms[name].add(value)
    chosen = {
        name: histogram.percentile(PERCENTILE)
        if method == "percentile"
        else histogram.least_error()
        for name, histogram in histograms.items()
    }
    return Calibration(chosen, count, method)


def _float_tensors(graph: Graph) -> list[str]:
    names = [*graph.inputs, *(out for node in graph.nodes for out in node.outputs if out)]
    return [n for n in names if graph.has_type(n) and graph.dtype(n) == np.float32]


def _tapped(graph: Graph, tensors: Iterable[str]) -> Graph:
    """Return ``graph`` with every tensor of ``tensors`` as an output too."""
    extra = [n for n in tensors if n not in graph.inputs and n not in graph.outputs]
    return replace(graph, outputs=(*graph.outputs, *extra))
