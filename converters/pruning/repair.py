"""Refit the layers behind removed channels, front to back, without labels.

Every layer that sees other inputs than before gets the weights and bias that best reproduce
its original pre-activations from what is left. Front to back, because each refit changes what
the next layer sees. Source: He et al. 2017, "Channel pruning", for least squares per layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Feeds
from converters.graph import Graph, Node, prune_unused
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.pruning.groups import ChannelMap, live
from converters.pruning.least_squares import NormalEquations, refit
from converters.pruning.rows import (
    Doubles,
    from_matrix,
    input_rows,
    layer_shape,
    output_rows,
    positions,
    to_matrix,
)

POSITIONS: Final = 40
"""Fewest output positions per sample, where a layer has so many; neighbours repeat each other."""
ROWS: Final = 8000
"""Rows wanted per layer: with few samples each gives more positions."""
MAX_INPUTS: Final = 3000
"""Widest layer that is refitted whole: its sums take twice 72 MB."""
CHECK_EVERY: Final = 4
"""Every fourth sample judges the fit instead of taking part in it."""
FIRST_LOOK: Final = 8
"""So many samples tell whether a layer is disturbed at all."""
UNDISTURBED: Final = 1e-9
"""Share of the energy; less is float32 rounding, as where only dead channels went."""
REFITTED: Final = frozenset({"Conv", "Gemm", "MatMul"})

_MATRIX_RANK = 2


@dataclass(frozen=True, slots=True)
class LayerRepair:
    """What a refit did to one layer.

    Attributes:
        node: Name of the layer.
        before: Squared error of its pre-activations over their energy, as cut.
        after: The same after the refit, on the same rows.
    """

    node: str
    before: float
    after: float


def repair(
    graph: Graph,
    smaller: Graph,
    channels: ChannelMap,
    removed: frozenset[int],
    samples: Sequence[Feeds],
) -> tuple[Graph, tuple[LayerRepair, ...]]:
    """Return ``smaller`` refitted to what ``graph`` computes, and what that did per layer.

    Args:
        graph: The original.
        smaller: ``shrink(graph, channels, removed)``.
        channels: Result of ``find_groups`` for the original.
        removed: Classes that ``smaller`` lost.
        samples: Unlabelled; 100 to 400 are enough.
    """
    original = {node.name: node for node in graph.nodes}
    done: list[LayerRepair] = []
    for number, name in enumerate(_disturbed(graph, channels, removed)):
        node = next((node for node in smaller.nodes if node.name == name), None)
        if node is None:
            continue
        keep = _kept_outputs(original[name], graph, channels, removed)
        targets = _Targets(graph, original[name], keep)
        smaller, result = _repair_layer(smaller, node, targets, samples, number)
        done.append(result)
    return smaller, tuple(done)


def _disturbed(graph: Graph, channels: ChannelMap, removed: frozenset[int]) -> Iterator[str]:
    """Yield the layers that lost inputs, or see inputs that differ from the original's."""
    losing = {
        cut.node for cut in channels.cuts if cut.role == "in" and not live(cut.ids, removed).all()
    }
    changed: set[str] = set()
    for node in graph.nodes:
        if node.name in losing or any(name in changed for name in node.inputs):
            changed.update(node.outputs)
            if _has_weights(graph, node):
                yield node.name


def _has_weights(graph: Graph, node: Node) -> bool:
    """Whether ``node`` is a layer; a product with a stack of matrices or a vector is none."""
    if node.op not in REFITTED and node.op != "ConvTranspose":
        return False
    weights = graph.constants.get(node.inputs[1])
    return weights is not None and (node.op != "MatMul" or weights.ndim == _MATRIX_RANK)


def _kept_outputs(
    node: Node, graph: Graph, channels: ChannelMap, removed: frozenset[int]
) -> npt.NDArray[np.bool_] | None:
    found = channels.tensors.get(node.outputs[0])
    if found is None:
        return None
    if found.axis != _channel_axis(node, len(graph.shape(node.outputs[0]))):
        return None
    return live(found.ids, removed)


def _channel_axis(node: Node, rank: int) -> int:
    return 1 if node.op in ("Conv", "ConvTranspose") else rank - 1


class _Targets:
    """The pre-activations that a layer had in the original, without the removed outputs."""

    def __init__(self, graph: Graph, node: Node, keep: npt.NDArray[np.bool_] | None) -> None:
        self._name = node.outputs[0]
        self._keep = keep
        self._axis = _channel_axis(node, len(graph.shape(self._name)))
        self._model = OrtModel(serialize(_up_to(graph, (self._name,))))

    def of(self, feeds: Feeds) -> Array:
        """Return them for one sample, in the shape that the smaller layer makes."""
        value = self._model.run(feeds, [self._name])[self._name]
        return value if self._keep is None else np.compress(self._keep, value, axis=self._axis)


def _up_to(graph: Graph, tensors: tuple[str, ...]) -> Graph:
    """Return the part of ``graph`` that computes ``tensors``; inputs not needed stay."""
    return prune_unused(replace(graph, outputs=tensors))


def _repair_layer(
    smaller: Graph, node: Node, targets: _Targets, samples: Sequence[Feeds], seed: int
) -> tuple[Graph, LayerRepair]:
    weights = smaller.constants[node.inputs[1]]
    wide = node.op not in REFITTED or layer_shape(node, weights).inputs >= MAX_INPUTS
    if wide:
        return _shift_bias(smaller, node, targets, samples)
    bias = node.optional_input(2)
    constant = bool(bias)
    start = to_matrix(node, weights)
    shape = layer_shape(node, weights)
    if constant:
        offsets = np.broadcast_to(
            smaller.constants[bias].astype(np.float64).reshape(-1), (shape.groups * shape.outputs,)
        )
        start = np.concatenate([start, offsets.reshape(shape.groups, 1, shape.outputs)], axis=1)
    fit, check = _collect(smaller, node, targets, samples, seed=seed, start=start)
    everything = fit.merged(check)
    energy = max(float(everything.energy.sum()), np.finfo(np.float64).tiny)
    before = everything.error(start) / energy
    undisturbed = before <= UNDISTURBED
    better = None if undisturbed else refit(fit, check, start, constant=constant)
    if better is None:
        return smaller, LayerRepair(node.name, before, before)
    constants = dict(smaller.constants)
    constants[node.inputs[1]] = from_matrix(node, better[:, : shape.inputs], weights)
    if constant:
        constants[bias] = better[:, -1].reshape(-1).astype(smaller.constants[bias].dtype)
    after = everything.error(better) / energy
    return replace(smaller, constants=constants), LayerRepair(node.name, before, after)


def _collect(
    smaller: Graph,
    node: Node,
    targets: _Targets,
    samples: Sequence[Feeds],
    *,
    seed: int,
    start: Doubles,
) -> tuple[NormalEquations, NormalEquations]:
    """Return the sums over the samples that fit, and over those that check.

    They end early where the present weights ``start`` still do what they did.
    """
    shape = layer_shape(node, smaller.constants[node.inputs[1]])
    constant = start.shape[1] > shape.inputs
    sums = NormalEquations(*start.shape), NormalEquations(*start.shape)
    source = node.inputs[0]
    model = None if source in smaller.inputs else OrtModel(serialize(_up_to(smaller, (source,))))
    rng = np.random.default_rng(seed)
    count = positions(node, smaller.shape(node.outputs[0]))
    wanted = min(count, max(POSITIONS, -(-ROWS // len(samples))))
    for number, feeds in enumerate(samples):
        given = feeds[source] if model is None else model.run(feeds, [source])[source]
        picks = np.sort(rng.choice(count, wanted, replace=False)).astype(np.int64)
        rows = input_rows(node, given, shape, picks)
        if constant:
            rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=2)
        checks = number % CHECK_EVERY == CHECK_EVERY - 1
        sums[checks].add(rows, output_rows(node, targets.of(feeds), shape, picks))
        if number == FIRST_LOOK - 1:
            seen = sums[0].merged(sums[1])
            if seen.error(start) <= UNDISTURBED * float(seen.energy.sum()):
                break
    return sums


def _shift_bias(
    smaller: Graph, node: Node, targets: _Targets, samples: Sequence[Feeds]
) -> tuple[Graph, LayerRepair]:
    """Move the mean of every output back to where it was; the weights stay."""
    bias, result = node.optional_input(2), node.outputs[0]
    axis = _channel_axis(node, len(smaller.shape(result)))
    model = OrtModel(serialize(_up_to(smaller, (result,))))
    width = smaller.shape(result)[axis]
    gap: Doubles = np.zeros(width)
    rows, error, energy = 0, 0.0, 0.0
    for feeds in samples:
        exact = targets.of(feeds).astype(np.float64)
        missed = exact - model.run(feeds, [result])[result].astype(np.float64)
        gap += np.moveaxis(missed, axis, -1).reshape(-1, width).sum(axis=0)
        error += float((missed**2).sum())
        energy += float((exact**2).sum())
        rows += exact.size // width
    energy = max(energy, np.finfo(np.float64).tiny)
    old = smaller.constants.get(bias)
    if old is None or old.size != width:
        return smaller, LayerRepair(node.name, error / energy, error / energy)
    gap /= rows
    constants = dict(smaller.constants)
    constants[bias] = (old.astype(np.float64).reshape(-1) + gap).astype(old.dtype)
    left = max(error - rows * float((gap**2).sum()), 0.0)
    return replace(smaller, constants=constants), LayerRepair(
        node.name, error / energy, left / energy
    )
