"""How much the layers behind a channel would miss it, from weights and activations.

A channel contributes to the next layer ``W[:, c] * a_c``. Its mean can move into the bias, so
what is lost is ``||W[:, c]||^2 * var(a_c)``: the weights' energy times the activation's variance.
Relative to the layer's average channel it compares across layers, which the magnitude of
weights alone does not. Source: the energy form of Sun et al. 2023, "Wanda", for whole channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Feeds, as_floats
from converters.graph import Graph, Node
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.pruning.groups import ChannelMap
from edgeops.errors import ConversionError

Doubles = npt.NDArray[np.float64]

STILL: Final = 1e-12
"""Share of the squared mean; a variance below it is rounding."""


class ChannelMoments:
    """Mean and variance per channel of one tensor, seen sample by sample.

    Source: Chan, Golub and LeVeque 1979, for merging without cancellation.
    """

    def __init__(self, width: int) -> None:
        self._count = 0
        self._mean: Doubles = np.zeros(width)
        self._squares: Doubles = np.zeros(width)

    def add(self, values: Array, axis: int) -> None:
        """Take one sample's tensor in; ``axis`` is its channel axis."""
        rows = np.moveaxis(values.astype(np.float64), axis, -1).reshape(-1, values.shape[axis])
        count = self._count + len(rows)
        mean = rows.mean(axis=0)
        gap = mean - self._mean
        self._squares += ((rows - mean) ** 2).sum(axis=0)
        self._squares += gap**2 * (self._count * len(rows) / count)
        self._mean = self._mean + gap * (len(rows) / count)
        self._count = count

    def variance(self) -> Doubles:
        """Return the variance over all positions of all samples."""
        return self._squares / max(self._count, 1)

    def is_still(self) -> bool:
        """Whether nothing but rounding moves: one position of one sample, or all alike."""
        return bool(np.all(self.variance() <= STILL * self._mean**2))


def score_channels(
    graph: Graph, channels: ChannelMap, samples: Sequence[Feeds]
) -> dict[int, float]:
    """Return class of channels -> the energy that the next layers get from it.

    The unit is the energy of the average channel of such a layer; summed over the layers that
    read the channel.

    Args:
        graph: The graph that ``channels`` was found in.
        channels: Result of ``find_groups``.
        samples: Unlabelled; some dozens are enough.

    Raises:
        ConversionError: There is no sample, or activations are not finite.
    """
    if not samples:
        raise ConversionError("pruning needs samples to see which channels are used")
    readers = {cut.node for cut in channels.cuts if cut.role == "in"}
    layers = [node for node in graph.nodes if node.name in readers]
    moments = _observe(graph, channels, layers, samples)
    scores: dict[int, float] = {
        channel: 0.0 for group in channels.groups for channel in group.channels
    }
    for node in layers:
        source = node.inputs[0]
        energy = weight_energy(graph, node) * moments[source].variance()
        if moments[source].is_still():
            parts = np.ones(len(energy))  # the samples tell nothing: no channel is dead
        else:
            parts = energy / max(float(energy.mean()), np.finfo(np.float64).tiny)
        for channel, part in zip(
            channels.tensors[source].ids.tolist(), parts.tolist(), strict=True
        ):
            if channel in scores:
                scores[channel] += part
    return scores


def _observe(
    graph: Graph, channels: ChannelMap, layers: Sequence[Node], samples: Sequence[Feeds]
) -> Mapping[str, ChannelMoments]:
    names = list(dict.fromkeys(node.inputs[0] for node in layers))
    extra = tuple(name for name in names if name not in graph.outputs)
    model = OrtModel(serialize(replace(graph, outputs=graph.outputs + extra)))
    moments = {name: ChannelMoments(len(channels.tensors[name].ids)) for name in names}
    for feeds in samples:
        for name, value in model.run(feeds, names).items():
            if not np.isfinite(as_floats(value)).all():
                raise ConversionError(
                    f"tensor {name!r} takes infinite or undefined values on the samples"
                )
            moments[name].add(value, channels.tensors[name].axis)
    return moments


def weight_energy(graph: Graph, node: Node) -> Doubles:
    """Return the squared norm of the weights that read each input channel of a layer."""
    weights = graph.constants[node.inputs[1]].astype(np.float64) ** 2
    if node.op == "Conv":
        groups = node.attributes.get("group", 1)
        parts = weights.reshape(groups if isinstance(groups, int) else 1, -1, *weights.shape[1:])
        energy: Doubles = parts.sum(axis=tuple(i for i in range(parts.ndim) if i not in (0, 2)))
        return energy.reshape(-1)
    axis = 1 if node.op == "Gemm" and node.attributes.get("transB", 0) == 1 else 0
    return np.asarray(np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).sum(axis=1))
