"""Find the channels of a graph that may be removed, and what shrinks with each of them.

Every index along a tensor's channel axis belongs to a class of channels; whatever ties two
channels together (a residual sum, a depthwise layer, a gate) joins their classes, so nets
need no patterns of their own. What the walk does not understand, it pins.
Source: Fang et al. 2023, "DepGraph", for the idea of following dependencies between layers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.graph import Graph
from converters.pruning import follow_elementwise as elementwise
from converters.pruning import follow_layers as layers
from converters.pruning import follow_shapes as shapes
from converters.pruning.channels import ChannelAxis, Cut, Ids
from converters.pruning.walk import Follow, Walk

_SAME: Final = (
    "Abs Cast Ceil Celu Clip Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity "
    "LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign "
    "Sqrt Tan Tanh ThresholdedRelu"
)
_BROADCAST: Final = "Add Div Max Mean Min Mul Pow PRelu Sub Sum Where"
_REDUCE: Final = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare"
)

FOLLOWERS: Final[Mapping[str, Follow]] = {
    **dict.fromkeys(_SAME.split(), elementwise.follow_same),
    **dict.fromkeys(_BROADCAST.split(), elementwise.follow_broadcast),
    **dict.fromkeys(_REDUCE.split(), elementwise.follow_reduce),
    "AveragePool": elementwise.follow_pool,
    "BatchNormalization": layers.follow_normalization,
    "Concat": shapes.follow_concat,
    "Conv": layers.follow_conv,
    "ConvTranspose": layers.follow_conv_transpose,
    "Flatten": shapes.follow_reshape,
    "Gather": shapes.follow_gather,
    "Gemm": layers.follow_gemm,
    "GlobalAveragePool": elementwise.follow_pool,
    "GlobalMaxPool": elementwise.follow_pool,
    "InstanceNormalization": layers.follow_normalization,
    "LogSoftmax": elementwise.follow_along_axis,
    "MatMul": layers.follow_matmul,
    "MaxPool": elementwise.follow_pool,
    "Pad": shapes.follow_pad,
    "Reshape": shapes.follow_reshape,
    "Resize": elementwise.follow_resize,
    "Slice": shapes.follow_slice,
    "Softmax": elementwise.follow_along_axis,
    "Split": shapes.follow_split,
    "Squeeze": shapes.follow_reshape,
    "Transpose": shapes.follow_transpose,
    "Unsqueeze": shapes.follow_reshape,
}


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that appear in the same tensors: any number of them may go, but not all.

    Attributes:
        channels: Their classes, ascending.
        tensors: The tensors that shrink, in the order of the graph.
    """

    channels: tuple[int, ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChannelMap:
    """Everything that pruning needs to know about a graph.

    Attributes:
        tensors: Tensor name -> its channel axis; other tensors never shrink.
        cuts: Constants that shrink, per node.
        groups: Channels that may be removed.
    """

    tensors: Mapping[str, ChannelAxis]
    cuts: tuple[Cut, ...]
    groups: tuple[ChannelGroup, ...]

    @property
    def prunable(self) -> int:
        """Return how many channels may be removed in principle."""
        return sum(len(group.channels) for group in self.groups)


def live(ids: Ids, removed: frozenset[int]) -> npt.NDArray[np.bool_]:
    """Return which indices along an axis stay."""
    return ~np.isin(ids, np.fromiter(removed, np.int64, len(removed)))


def find_groups(graph: Graph) -> ChannelMap:
    """Return the channels of a normalised ``graph`` that may be removed.

    Channels of graph inputs and outputs, and all that meet a node which is not understood,
    are never among them.
    """
    walk = Walk(graph)
    for node in graph.nodes:
        follow = FOLLOWERS.get(node.op)
        understood = follow is not None and not node.domain and walk.typed(node)
        if not understood or follow is None or not follow(walk, node):
            walk.pin(*node.inputs)
    walk.pin(*graph.outputs)
    _agree_on_shared_constants(walk)
    return _resolved(walk)


def _agree_on_shared_constants(walk: Walk) -> None:
    """Tie or pin what two nodes, or a node and the model's user, want of one constant."""
    uses: dict[str, set[tuple[str, int]]] = {}
    for node in walk.graph.nodes:
        for index, name in enumerate(node.inputs):
            if name in walk.graph.constants:
                uses.setdefault(name, set()).add((node.name, index))
    wanted: dict[tuple[str, int], dict[tuple[str, int], Cut]] = {}
    for cut in walk.cuts:
        wanted.setdefault((cut.constant, cut.axis), {})[cut.node, cut.index] = cut
    for (name, _), cuts in wanted.items():
        chosen = list(cuts.values())
        agreed = set(cuts) == uses[name] and name not in walk.graph.outputs
        for cut in chosen:
            if agreed:
                walk.union.unite(chosen[0].ids, cut.ids)
            else:
                walk.union.pin(cut.ids)


def _resolved(walk: Walk) -> ChannelMap:
    union = walk.union
    tensors = {
        name: ChannelAxis(found.axis, union.roots(found.ids))
        for name, found in walk.tensors.items()
    }
    cuts = tuple(replace(cut, ids=union.roots(cut.ids)) for cut in walk.cuts)
    fixed = union.pinned()
    places: dict[int, list[str]] = {}
    for name, found in tensors.items():
        for channel in dict.fromkeys(found.ids.tolist()):
            if channel not in fixed:
                places.setdefault(channel, []).append(name)
    members: dict[tuple[str, ...], list[int]] = {}
    for channel, names in places.items():
        members.setdefault(tuple(names), []).append(channel)
    groups = tuple(
        ChannelGroup(tuple(sorted(channels)), names) for names, channels in members.items()
    )
    return ChannelMap(tensors, cuts, groups)
