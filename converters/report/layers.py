"""Where in the network quantization adds its error: the float graph beside the quantized one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Final

import numpy as np

from converters.arrays import Feeds
from converters.graph import Graph, prune_unused
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.plan import QuantPlan
from converters.quant.write_onnx import insert_pairs
from converters.report.contents import LayerError

SAMPLES: Final = 4

TAPPED_BYTES: Final = 16 << 20
"""Tensors watched in one run: bounds the memory, whatever the size of the model."""

LARGE_BYTES: Final = 32 << 20
"""Where all tensors of a sample are larger, two samples hold numbers enough."""

_MOST_DECIBELS: Final = 99.0


def layer_errors(graph: Graph, plan: QuantPlan, samples: Sequence[Feeds]) -> tuple[LayerError, ...]:
    """Return the error of every tensor on a grid, in the order of the graph.

    Both graphs run unoptimised, every quantize/dequantize pair as written, so the figures do
    not depend on the machine's integer kernels. Errors of earlier layers are included: the
    figure tells how wrong the network is *at* a tensor, not how much that tensor adds.

    Args:
        graph: The float graph that the int8 files were written from.
        plan: Their plan.
        samples: The first few are used.

    Raises:
        ConversionError: The runtime fails.
    """
    producers = graph.producers()
    paired = insert_pairs(graph, plan)
    made = {name for node in paired.nodes for name in node.outputs}
    tensors = [
        name
        for node in graph.nodes
        for name in node.outputs
        if name in plan.tensors and name in made and graph.has_type(name)
    ]
    count = SAMPLES if sum(_size(graph, name) for name in tensors) <= LARGE_BYTES else 2
    found: list[LayerError] = []
    for group in _groups(graph, tensors):
        signal, error = _energies(graph, paired, group, samples[:count])
        found += [
            LayerError(
                tensor=name,
                node=producers[name].name,
                operator=producers[name].op,
                sqnr_db=_decibels(signal[name], error[name]),
            )
            for name in group
        ]
    return tuple(found)


def _size(graph: Graph, tensor: str) -> int:
    return prod(graph.shape(tensor)) * graph.dtype(tensor).itemsize


def _groups(graph: Graph, tensors: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for name in tensors:
        need = _size(graph, name)
        if group and size + need > TAPPED_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += need
    if group:
        yield group


def _energies(
    graph: Graph, paired: Graph, tensors: Sequence[str], samples: Sequence[Feeds]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return signal and error energy of each tensor, summed over the samples."""
    exact, rounded = (
        OrtModel(serialize(prune_unused(replace(part, outputs=tuple(tensors)))), optimize=False)
        for part in (graph, paired)
    )
    signal = dict.fromkeys(tensors, 0.0)
    error = dict.fromkeys(tensors, 0.0)
    for feeds in samples:
        want, have = exact.run(feeds), rounded.run(feeds)
        for name in tensors:
            true, found = want[name].astype(np.float64), have[name].astype(np.float64)
            signal[name] += float(np.sum(true[np.isfinite(true)] ** 2))
            apart = found != true  # infinity less infinity is no number
            error[name] += float(np.sum((found[apart] - true[apart]) ** 2))
    return signal, error


def _decibels(signal: float, error: float) -> float | None:
    """Return signal over error in dB, bounded to -99..199; ``None`` without any error.

    An infinite or undefined value that the other side does not have is the worst of errors.
    """
    if error == 0:
        return None
    if not np.isfinite(error):
        return -_MOST_DECIBELS
    ratio = max(signal, 1e-30) / error
    return round(float(np.clip(10 * np.log10(ratio), -_MOST_DECIBELS, 199.0)), 2)
