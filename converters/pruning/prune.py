"""Remove a share of a model's channels and refit what is left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from converters.arrays import Feeds
from converters.graph import Graph, Node
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.pruning.channels import Cut
from converters.pruning.groups import ChannelMap, find_groups, live
from converters.pruning.importance import score_channels
from converters.pruning.repair import CHECK_EVERY, LayerRepair, repair
from converters.pruning.selection import choose_channels
from converters.pruning.shrink import parameters, shrink
from converters.quant.operators import multiply_accumulates
from edgeops.errors import ConversionError, UsageError

MAX_SAMPLES: Final = 400
"""More change nothing: the refit solves for thousands of numbers, not millions."""
FEWEST_SAMPLES: Final = 16
"""A refit takes so many if there are, however large the model."""
REPAIR_MACS: Final = 1e12
"""Multiply-accumulates that a refit may take, about a minute: every layer runs all before it."""


@dataclass(frozen=True, slots=True)
class PrunedLayer:
    """One layer that became smaller.

    Attributes:
        node: Name of the layer.
        operator: ONNX operator type.
        inputs: Channels read, before and after.
        outputs: Channels made, before and after.
        error_cut: Squared error of its pre-activations over their energy, without repair of
            this layer; ``None`` where nothing changed in front of it.
        error_repaired: The same after the refit.
    """

    node: str
    operator: str
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    error_cut: float | None
    error_repaired: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A smaller model and what it cost; pairs are before and after.

    Attributes:
        graph: The smaller graph, with the same inputs and outputs.
        ratio: Share of the prunable channels that was asked for.
        removed: Share that is gone: layers keep round numbers.
        channels: Channels made by all layers with weights.
        parameters: Numbers in floating-point constants.
        macs: Multiply-accumulates per inference.
        layers: Every layer that shrank or was refitted, in the graph's order.
    """

    graph: Graph
    ratio: float
    removed: float
    channels: tuple[int, int]
    parameters: tuple[int, int]
    macs: tuple[int, int]
    layers: tuple[PrunedLayer, ...]


class Pruner:
    """A model whose channels have been followed and scored, ready to be cut anywhere.

    Args:
        graph: A normalised float graph.
        samples: Unlabelled inputs; at most ``MAX_SAMPLES`` are used.
        multiple: What the channels kept of each group are a multiple of.

    Raises:
        ConversionError: There is nothing to prune, or the samples are missing or unsound.
    """

    def __init__(self, graph: Graph, samples: Sequence[Feeds], *, multiple: int = 8) -> None:
        if multiple < 1:
            raise UsageError(f"channels cannot be kept in multiples of {multiple}")
        self._graph = graph
        self._samples = samples[:MAX_SAMPLES]
        self._multiple = multiple
        self._channels = find_groups(graph)
        if not self._choosable():
            raise ConversionError(
                "there is nothing to prune: no layer has channels to spare "
                f"(more than {multiple}, and neither inputs nor outputs of the model)"
            )
        self._scores = score_channels(graph, self._channels, self._samples)
        if len(self._samples) < CHECK_EVERY:
            raise ConversionError(
                f"pruning needs at least {CHECK_EVERY} samples to refit layers and to judge the "
                f"fit, and is meant for 100 to 400; found {len(self._samples)}"
            )

    def _choosable(self) -> frozenset[int]:
        even = {c: 0.0 for group in self._channels.groups for c in group.channels}
        return choose_channels(self._channels, even, 1.0, multiple=self._multiple)

    def distinct(self, ratios: Sequence[float]) -> tuple[float, ...]:
        """Return those of ``ratios`` that remove something, and each something else."""
        chosen: dict[frozenset[int], float] = {}
        for ratio in sorted(ratios):
            chosen.setdefault(self._choose(ratio), ratio)
        return tuple(ratio for removed, ratio in chosen.items() if removed)

    def _choose(self, ratio: float) -> frozenset[int]:
        return choose_channels(self._channels, self._scores, ratio, multiple=self._multiple)

    def _affordable(self) -> Sequence[Feeds]:
        """Return as many samples as a refit can go through in reasonable time."""
        layers = sum(multiply_accumulates(self._graph, node) > 0 for node in self._graph.nodes)
        work = max(_macs(self._graph) * layers, 1)
        return self._samples[: max(FEWEST_SAMPLES, int(REPAIR_MACS / work))]

    def cut(self, ratio: float, *, repaired: bool = True) -> Pruned:
        """Return the model without ``ratio`` of its channels.

        Args:
            ratio: More than 0, less than 1; half of a layer is the most that goes.
            repaired: Whether the layers behind are refitted; only experiments say no.

        Raises:
            UsageError: The ratio is none.
            ConversionError: So small a ratio removes nothing, or the result does not run.
        """
        if not 0.0 < ratio < 1.0:
            raise UsageError(f"the ratio to prune is a number between 0 and 1, found {ratio}")
        removed = self._choose(ratio)
        if not removed:
            raise ConversionError(
                f"pruning {ratio:.0%} removes nothing: no layer can give up "
                f"{self._multiple} channels for so little"
            )
        smaller = shrink(self._graph, self._channels, removed)
        repairs: tuple[LayerRepair, ...] = ()
        if repaired:
            smaller, repairs = repair(
                self._graph, smaller, self._channels, removed, self._affordable()
            )
        _require_sound(smaller, self._samples[0])
        return Pruned(
            graph=smaller,
            ratio=ratio,
            removed=len(removed) / self._channels.prunable,
            channels=(_made(self._graph), _made(smaller)),
            parameters=(parameters(self._graph), parameters(smaller)),
            macs=(_macs(self._graph), _macs(smaller)),
            layers=_layers(self._graph, self._channels, removed, repairs),
        )


def prune(graph: Graph, feeds: Sequence[Feeds], ratio: float, *, multiple: int = 8) -> Pruned:
    """Return ``graph`` without ``ratio`` of its channels, refitted on ``feeds``.

    Args:
        graph: A normalised float graph.
        feeds: Unlabelled inputs, 100 to 400.
        ratio: Share of all channels that may go, more than 0 and less than 1.
        multiple: What the channels kept of each group are a multiple of.

    Raises:
        UsageError: The ratio or the multiple is none.
        ConversionError: There is nothing to prune, or the samples are missing or unsound.
    """
    return Pruner(graph, feeds, multiple=multiple).cut(ratio)


def _require_sound(graph: Graph, feeds: Feeds) -> None:
    for name, value in OrtModel(serialize(graph)).run(feeds).items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ConversionError(f"the pruned model answers with infinite values at {name!r}")


def _made(graph: Graph) -> int:
    """Return how many channels the layers with weights make."""
    layers = [n for n in graph.nodes if n.op in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    return sum(
        graph.shape(node.outputs[0])[1 if "Conv" in node.op else -1]
        for node in layers
        if node.inputs[1] in graph.constants and graph.has_type(node.outputs[0])
    )


def _macs(graph: Graph) -> int:
    return sum(multiply_accumulates(graph, node) for node in graph.nodes)


def _layers(
    graph: Graph,
    channels: ChannelMap,
    removed: frozenset[int],
    repairs: Sequence[LayerRepair],
) -> tuple[PrunedLayer, ...]:
    fitted = {entry.node: entry for entry in repairs}
    weights: dict[str, list[Cut]] = {}
    for cut in channels.cuts:
        if cut.index == 1:
            weights.setdefault(cut.node, []).append(cut)
    found: list[PrunedLayer] = []
    for node in graph.nodes:
        cuts = weights.get(node.name, [])
        shrinks = any(not live(cut.ids, removed).all() for cut in cuts)
        if not shrinks and node.name not in fitted:
            continue
        entry = fitted.get(node.name)
        found.append(
            PrunedLayer(
                node=node.name,
                operator=node.op,
                inputs=_width(graph, channels, node, node.inputs[0], removed),
                outputs=_width(graph, channels, node, node.outputs[0], removed),
                error_cut=entry.before if entry else None,
                error_repaired=entry.after if entry else None,
            )
        )
    return tuple(found)


def _width(
    graph: Graph, channels: ChannelMap, node: Node, tensor: str, removed: frozenset[int]
) -> tuple[int, int]:
    found = channels.tensors.get(tensor)
    if found is not None:
        return len(found.ids), int(live(found.ids, removed).sum())
    width = graph.shape(tensor)[1 if "Conv" in node.op else -1]
    return width, width
