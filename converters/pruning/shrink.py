"""Write the smaller graph: constants lose slices, nodes get their new numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Attribute, Graph, Node, fresh_name, prune_unused, tensor_names
from converters.onnx_format import infer_types
from converters.pruning.groups import ChannelMap, live


def shrink(graph: Graph, channels: ChannelMap, removed: frozenset[int]) -> Graph:
    """Return ``graph`` without the channels ``removed``; types are inferred anew.

    Args:
        graph: The graph that ``channels`` was found in.
        channels: Result of ``find_groups``.
        removed: Channel classes; at least one member of every group stays.

    Raises:
        ConversionError: The smaller shapes do not fit together.
    """
    constants = dict(graph.constants)
    done: set[tuple[str, int]] = set()
    for cut in channels.cuts:
        if (cut.constant, cut.axis) not in done:
            done.add((cut.constant, cut.axis))
            keep = live(cut.ids, removed)
            constants[cut.constant] = np.compress(keep, constants[cut.constant], axis=cut.axis)
    rewriting = _Rewriting(graph, channels, removed, constants)
    nodes = tuple(rewriting.rewrite(node) for node in graph.nodes)
    smaller = replace(
        graph,
        nodes=nodes,
        constants={name: np.ascontiguousarray(value) for name, value in constants.items()},
        types={name: graph.types[name] for name in graph.inputs},
    )
    return infer_types(prune_unused(smaller))


class _Rewriting:
    """Gives nodes the numbers that follow from the channels left."""

    def __init__(
        self,
        graph: Graph,
        channels: ChannelMap,
        removed: frozenset[int],
        constants: dict[str, Array],
    ) -> None:
        self._graph = graph
        self._channels = channels
        self._removed = removed
        self._constants = constants
        self._taken = tensor_names(graph)

    def rewrite(self, node: Node) -> Node:
        rewrite = _REWRITES.get(node.op)
        touched = node.inputs[:1] and self._shrinks(node.inputs[0])
        if rewrite is None or node.domain or not touched:
            return node
        return rewrite(self, node)

    def _shrinks(self, tensor: str) -> bool:
        return self.left(tensor) != self._size(tensor)

    def _size(self, tensor: str) -> int:
        found = self._channels.tensors.get(tensor)
        return len(found.ids) if found else 0

    def left(self, tensor: str) -> int:
        """Return how many indices of the channel axis of ``tensor`` stay."""
        found = self._channels.tensors.get(tensor)
        return int(live(found.ids, self._removed).sum()) if found else 0

    def _with_list(self, node: Node, index: int, values: Array) -> Node:
        """Return ``node`` with input ``index`` replaced by a list of its own."""
        name = fresh_name(f"{node.name}_pruned_{index}", self._taken)
        self._taken.add(name)
        self._constants[name] = values
        inputs = list(node.inputs) + [""] * (index + 1 - len(node.inputs))
        inputs[index] = name
        return replace(node, inputs=tuple(inputs))

    def conv(self, node: Node) -> Node:
        groups, source = node.attributes.get("group", 1), self._channels.tensors[node.inputs[0]]
        if groups != len(source.ids) or groups == 1:  # in a grouped one every group narrows
            return node
        attributes: dict[str, Attribute] = {**node.attributes, "group": self.left(node.inputs[0])}
        return replace(node, attributes=attributes)

    def split(self, node: Node) -> Node:
        source = self._channels.tensors[node.inputs[0]]
        rank = len(self._graph.shape(node.inputs[0]))
        axis = node.attributes.get("axis", 0)
        if not isinstance(axis, int) or axis % rank != source.axis:
            return node
        kept: Mapping[str, Attribute] = {
            name: value for name, value in node.attributes.items() if name != "num_outputs"
        }
        sizes = np.asarray([self.left(name) for name in node.outputs], np.int64)
        return self._with_list(replace(node, attributes=kept), 1, sizes)

    def slice(self, node: Node) -> Node:
        source = self._channels.tensors[node.inputs[0]]
        shape = self._graph.shape(node.inputs[0])
        starts, ends = (self._constants[node.inputs[i]].astype(np.int64) for i in (1, 2))
        axes_name = node.optional_input(3)
        axes = self._constants[axes_name] if axes_name else np.arange(len(starts))
        places = [i for i, axis in enumerate(axes) if int(axis) % len(shape) == source.axis]
        if not places:
            return node
        keep = live(source.ids, self._removed)
        first, last, _ = slice(int(starts[places[0]]), int(ends[places[0]])).indices(len(keep))
        starts, ends = starts.copy(), ends.copy()
        starts[places[0]], ends[places[0]] = keep[:first].sum(), keep[:last].sum()
        element = self._graph.constants[node.inputs[1]].dtype
        node = self._with_list(node, 1, starts.astype(element))
        return self._with_list(node, 2, ends.astype(element))

    def gather(self, node: Node) -> Node:
        source = self._channels.tensors[node.inputs[0]]
        rank = len(self._graph.shape(node.inputs[0]))
        axis = node.attributes.get("axis", 0)
        if not isinstance(axis, int) or axis % rank != source.axis:
            return node
        keep = live(source.ids, self._removed)
        indices = self._constants[node.inputs[1]].astype(np.int64) % len(keep)
        places = np.cumsum(keep) - 1
        return self._with_list(node, 1, places[indices[keep[indices]]].astype(np.int64))

    def reshape(self, node: Node) -> Node:
        found = self._channels.tensors[node.outputs[0]]
        shape = list(self._graph.shape(node.outputs[0]))
        shape[found.axis] = self.left(node.outputs[0])
        return self._with_list(node, 1, np.asarray(shape, np.int64))

    def resize(self, node: Node) -> Node:
        sizes = node.optional_input(3)
        if not sizes:
            return node
        found = self._channels.tensors[node.inputs[0]]
        wanted = self._constants[sizes].copy()
        wanted[found.axis] = self.left(node.inputs[0])
        return self._with_list(node, 3, wanted)


_REWRITES: Final[Mapping[str, Callable[[_Rewriting, Node], Node]]] = {
    "Conv": _Rewriting.conv,
    "Gather": _Rewriting.gather,
    "Reshape": _Rewriting.reshape,
    "Resize": _Rewriting.resize,
    "Slice": _Rewriting.slice,
    "Split": _Rewriting.split,
}


def parameters(graph: Graph) -> int:
    """Return how many numbers the floating-point constants of ``graph`` hold."""
    return sum(
        math.prod(value.shape) for value in graph.constants.values() if value.dtype.kind == "f"
    )
