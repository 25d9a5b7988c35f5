"""How far a quantized graph's answers lie from the float graph's, as one number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from converters.arrays import Array, Feeds
from converters.graph import Graph
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.operators import WEIGHTED
from converters.quant.plan import QuantPlan
from converters.quant.write_onnx import insert_pairs


def head_tensors(graph: Graph) -> tuple[str, ...]:
    """Return the outputs of the layers with weights that no other such layer follows.

    There a network's answer is complete and still linear: behind a softmax or sigmoid, or
    where boxes and scores are joined, one part of the answer hides the noise of another.
    A graph without such layers is measured at its outputs.
    """
    followed: set[str] = set()
    heads: list[str] = []
    for node in reversed(graph.nodes):
        weighted = node.op in WEIGHTED and not node.domain
        leads = any(name in followed for name in node.outputs)
        if weighted and not leads:
            heads.append(node.outputs[0])
        if weighted or leads:
            followed.update(node.inputs)
    return tuple(reversed(heads)) or graph.outputs


def with_outputs(graph: Graph, names: Iterable[str]) -> Graph:
    """Return ``graph`` with ``names`` as its outputs."""
    return replace(graph, outputs=tuple(names))


def watch_heads(graph: Graph, plan: QuantPlan, heads: Sequence[str]) -> Graph:
    """Return the float graph with the plan's pairs, and ``heads`` as outputs."""
    return insert_pairs(with_outputs(graph, heads), plan)


def answers(graph: Graph, feeds: Iterable[Feeds]) -> list[dict[str, Array]]:
    """Return the outputs of ``graph`` for each sample, pairs computed as written."""
    model = OrtModel(serialize(graph), fuse_pairs=False)
    return [model.run(sample) for sample in feeds]


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


def mean_noise(
    expected: Sequence[Mapping[str, Array]], found: Iterable[Mapping[str, Array]]
) -> float:
    """Return squared error over variance, averaged over the outputs.

    The variance is taken about the mean of each output: logits that all lie near -10 say
    nothing by their energy. Every head counts the same, whatever its size.
    """
    error: dict[str, float] = {}
    sums: dict[str, list[float]] = {}
    for want, have in zip(expected, found, strict=True):
        for name, value in want.items():
            exact, given = value.astype(np.float64), have[name].astype(np.float64)
            error[name] = error.get(name, 0.0) + float(np.sum((exact - given) ** 2))
            total = sums.setdefault(name, [0.0, 0.0, 0.0])
            total[0] += exact.size
            total[1] += float(exact.sum())
            total[2] += float(np.sum(exact**2))
    ratios = [
        error[name] / max(squares - total**2 / count, 1e-9 * squares, 1e-12)
        for name, (count, total, squares) in sums.items()
    ]
    return sum(ratios) / len(ratios)
