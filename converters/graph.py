"""The converter's own view of a model: named nodes, constants and static types.

It is ONNX in all but its container: operators, attributes and their meaning are those
of the operator set that ``Graph.opset`` names. Passes take a graph and return a new one;
nodes are immutable, so a pass can never change its input behind the caller's back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from converters.arrays import Array
from edgeops.errors import UnsupportedModelError

Attribute: TypeAlias = (
    int | float | str | Array | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation.

    Attributes:
        name: Unique in its graph, never empty.
        op: ONNX operator type.
        inputs: Tensor names; an empty name is an input left out.
        outputs: Tensor names; an empty name is an output nobody wants.
        attributes: Only those that the model states; defaults are the reader's business.
        domain: Operator set, empty for ONNX's own.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    domain: str = ""

    def optional_input(self, index: int) -> str:
        """Return the name of input ``index``, or an empty name where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def refuse(self, reason: str, suggestion: str = "") -> UnsupportedModelError:
        """Return the error that says why this node cannot be lowered."""
        return UnsupportedModelError(
            node=self.name, operator=self.op, reason=reason, suggestion=suggestion
        )


@dataclass(frozen=True, slots=True)
class TensorType:
    """Static type of a tensor: every dimension is a known whole number."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A model: nodes in topological order, constants by name, types of all known tensors."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    types: Mapping[str, TensorType]
    opset: int
    other_opsets: Mapping[str, int] = field(default_factory=dict)

    def producers(self) -> dict[str, Node]:
        """Return tensor name -> the node that makes it."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    def consumers(self) -> dict[str, list[Node]]:
        """Return tensor name -> the nodes that read it, each once."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    readers.setdefault(name, []).append(node)
        return readers

    def sole_consumer(self, tensor: str, readers: Mapping[str, list[Node]]) -> Node | None:
        """Return the only node that reads ``tensor``, if nothing else can see it."""
        nodes = readers.get(tensor, [])
        return nodes[0] if len(nodes) == 1 and tensor not in self.outputs else None

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of ``tensor``.

        Raises:
            UnsupportedModelError: Shape inference could not find it.
        """
        if tensor in self.constants:
            return self.constants[tensor].shape
        if tensor in self.types:
            return self.types[tensor].shape
        raise self._unknown(tensor)

    def dtype(self, tensor: str) -> np.dtype[np.generic]:
        """Return the element type of ``tensor``.

        Raises:
            UnsupportedModelError: Type inference could not find it.
        """
        if tensor in self.constants:
            return self.constants[tensor].dtype
        if tensor in self.types:
            return self.types[tensor].dtype
        raise self._unknown(tensor)

    def has_type(self, tensor: str) -> bool:
        """Whether shape and element type of ``tensor`` are known."""
        return tensor in self.constants or tensor in self.types

    def _unknown(self, tensor: str) -> UnsupportedModelError:
        node = self.producers().get(tensor)
        return UnsupportedModelError(
            node=node.name if node else tensor,
            operator=node.op if node else "input",
            reason=f"the shape of {tensor!r} is not known before the model runs",
            suggestion="export with fixed shapes, or give the input shape",
        )


def rename_inputs(nodes: Iterable[Node], names: Mapping[str, str]) -> tuple[Node, ...]:
    """Return ``nodes`` reading ``names[x]`` wherever they read ``x``; chains are followed."""

    def final(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    return tuple(
        replace(node, inputs=tuple(final(name) for name in node.inputs))
        if any(name in names for name in node.inputs)
        else node
        for node in nodes
    )


def prune_unused(graph: Graph) -> Graph:
    """Return ``graph`` without nodes and constants that no output depends on."""
    wanted = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(output in wanted for output in node.outputs if output):
            kept.append(node)
            wanted.update(name for name in node.inputs if name)
    return replace(
        graph,
        nodes=tuple(reversed(kept)),
        constants={name: value for name, value in graph.constants.items() if name in wanted},
    )


def fresh_name(wish: str, taken: Iterable[str]) -> str:
    """Return ``wish``, or ``wish_2``, ``wish_3`` … if it is taken."""
    names = set(taken)
    if wish not in names:
        return wish
    number = 2
    while f"{wish}_{number}" in names:
        number += 1
    return f"{wish}_{number}"


def tensor_names(graph: Graph) -> set[str]:
    """Return every name that ``graph`` uses, of tensors and of nodes.

    Nodes are often called after what they make, so a new name must differ from both:
    ONNX Runtime refuses two nodes of one name.
    """
    names = {*graph.inputs, *graph.outputs, *graph.constants}
    for node in graph.nodes:
        names.add(node.name)
        names.update(node.inputs)
        names.update(node.outputs)
    return names
