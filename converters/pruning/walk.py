"""The state of a walk through a graph that follows channels from layer to layer."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from converters.graph import Graph, Node
from converters.pruning.channels import ChannelAxis, ChannelUnion, Cut, Ids, Role


class Walk:
    """What is known so far while the nodes are visited in order.

    A tensor without an entry in ``tensors`` has no channel that may be removed.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.union = ChannelUnion()
        self.tensors: dict[str, ChannelAxis] = {}
        self.cuts: list[Cut] = []

    def typed(self, node: Node) -> bool:
        """Whether the shapes of all tensors of ``node`` are known."""
        return all(self.graph.has_type(name) for name in (*node.inputs, *node.outputs) if name)

    def pin(self, *tensors: str) -> None:
        """Say that the channels of ``tensors`` must stay."""
        for name in tensors:
            if name in self.tensors:
                self.union.pin(self.tensors[name].ids)

    def on_axis(self, tensor: str, axis: int) -> ChannelAxis | None:
        """Return the channels of ``tensor`` if they lie along ``axis``; pin others."""
        found = self.tensors.get(tensor)
        if found is not None and found.axis != axis:
            self.pin(tensor)
            return None
        return found

    def known_or_pinned(self, tensor: str, axis: int) -> Ids:
        """Return the channels of ``tensor`` along ``axis``, pinned ones where it has none."""
        found = self.on_axis(tensor, axis)
        if found is not None:
            return found.ids
        ids = self.union.fresh(self.graph.shape(tensor)[axis])
        self.union.pin(ids)
        return ids

    def put(self, tensor: str, axis: int, ids: Ids) -> None:
        """Record the channels of a node's output."""
        if tensor:
            self.tensors[tensor] = ChannelAxis(axis, ids)

    def cut(self, node: Node, index: int, axis: int, ids: Ids, role: Role) -> None:
        """Record that a constant input of ``node`` shrinks along ``axis``."""
        self.cuts.append(Cut(node.name, index, node.inputs[index], axis, ids, role))


Follow: TypeAlias = Callable[[Walk, Node], bool]
"""Carry channels over a node; ``False`` where that is not understood: its inputs get pinned."""


def axis_number(value: object, rank: int) -> int | None:
    """Return a possibly negative axis attribute as 0 … rank - 1, ``None`` if it is none."""
    if not isinstance(value, int) or not -rank <= value < rank:
        return None
    return value % rank


def whole_numbers(graph: Graph, tensor: str) -> tuple[int, ...] | None:
    """Return the elements of a constant list of whole numbers, ``None`` where it is not one."""
    values = graph.constants.get(tensor)
    if values is None or values.dtype.kind not in "iu":
        return None
    return tuple(int(value) for value in np.asarray(values).ravel())
