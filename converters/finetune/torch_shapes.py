"""Joining, splitting and moving tensors in PyTorch; the batch may be larger than the graph's."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from converters.arrays import as_ints
from converters.graph import Graph, Node

Tensors = Sequence[torch.Tensor]


def whole_numbers(node: Node, graph: Graph, index: int) -> tuple[int, ...]:
    """Return a constant list of whole numbers that ``node`` reads; empty where it is left out."""
    name = node.optional_input(index)
    if not name:
        return ()
    if name not in graph.constants:
        raise node.refuse(f"input {index} is computed at run time")
    return as_ints(graph.constants[name])


def _axis(node: Node, default: int) -> int:
    value = node.attributes.get("axis", default)
    return value if isinstance(value, int) else default


def reshape(node: Node, inputs: Tensors, graph: Graph) -> torch.Tensor:
    """Return the tensor in the static shape of the output, whatever the batch is."""
    before, after = (graph.shape(name) for name in (node.inputs[0], node.outputs[0]))
    keeps_batch = before[:1] == after[:1] == (1,)
    return inputs[0].reshape((inputs[0].shape[0] if keeps_batch else after[0], *after[1:]))


def transpose(node: Node, inputs: Tensors, _: Graph) -> torch.Tensor:
    """Return the tensor with its axes moved."""
    order = as_ints(np.asarray(node.attributes.get("perm", tuple(range(inputs[0].ndim))[::-1])))
    return inputs[0].permute(order)


def concat(node: Node, inputs: Tensors, _: Graph) -> torch.Tensor:
    """Return the tensors side by side; constants are repeated along a larger batch."""
    batch = max(part.shape[0] for part in inputs)
    axis = _axis(node, 0) % inputs[0].ndim
    if axis != 0:
        inputs = [
            part.expand(batch, *part.shape[1:]) if part.shape[0] != batch else part
            for part in inputs
        ]
    return torch.cat(list(inputs), dim=axis)


def split(node: Node, inputs: Tensors, graph: Graph) -> tuple[torch.Tensor, ...]:
    """Return the parts."""
    axis = _axis(node, 0) % inputs[0].ndim
    sizes = [graph.shape(name)[axis] for name in node.outputs]
    return tuple(torch.split(inputs[0], sizes, dim=axis))


def pad(node: Node, inputs: Tensors, graph: Graph) -> torch.Tensor:
    """Return the tensor with a constant around it."""
    amounts = whole_numbers(node, graph, 1)
    value = node.optional_input(2)
    rank = len(amounts) // 2
    plain = node.attributes.get("mode", "constant") == "constant" and not node.optional_input(3)
    if not plain or (value and value not in graph.constants):
        raise node.refuse("this form of padding cannot be trained through")
    number = float(np.asarray(graph.constants[value], np.float64).reshape(-1)[0]) if value else 0.0
    reverse = [n for axis in reversed(range(rank)) for n in (amounts[axis], amounts[rank + axis])]
    return functional.pad(inputs[0], reverse, value=number)


def slice_(node: Node, inputs: Tensors, graph: Graph) -> torch.Tensor:
    """Return a part of the tensor."""
    starts, ends, axes, steps = (whole_numbers(node, graph, index) for index in (1, 2, 3, 4))
    rank = inputs[0].ndim
    places = [slice(None)] * rank
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[number] if axes else number) % rank
        step = steps[number] if steps else 1
        if step < 1:
            raise node.refuse("a slice that runs backwards cannot be trained through")
        places[axis] = slice(start, end, step)
    return inputs[0][tuple(places)]


def gather(node: Node, inputs: Tensors, graph: Graph) -> torch.Tensor:
    """Return chosen entries along an axis."""
    axis = _axis(node, 0) % inputs[0].ndim
    indices = whole_numbers(node, graph, 1)
    shape = graph.shape(node.inputs[1])
    if len(shape) > 1:
        raise node.refuse("indices of more than one axis cannot be trained through")
    size = inputs[0].shape[axis]
    found = torch.index_select(inputs[0], axis, torch.tensor([i % size for i in indices]))
    return found if shape else found.squeeze(axis)
