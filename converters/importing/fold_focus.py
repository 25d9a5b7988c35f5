"""Fold "focus" stems into their convolution: every n-th pixel, side by side as channels.

Slices with steps take an image apart and a Concat puts its parts together as channels, for
one convolution. A convolution with an n times larger kernel and stride reads the same pixels
with the same weights straight from the image, exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from converters.arrays import Array, as_ints
from converters.graph import Graph, Node, fresh_name, prune_unused, tensor_names

_IMAGE_RANK = 4
_IMAGE_AXES = (2, 3)


@dataclass(frozen=True, slots=True)
class _Part:
    """What slices took of an image: pixels ``begin, begin + step …`` to its end, per axis."""

    image: str
    begin: tuple[int, ...]
    step: tuple[int, ...]


def fold_focus(graph: Graph) -> Graph:
    """Return ``graph`` with convolutions in the place of focus stems."""
    readers, producers = graph.consumers(), graph.producers()
    constants = dict(graph.constants)
    taken = tensor_names(graph)
    changed: dict[str, Node] = {}
    for joint in graph.nodes:
        if joint.op != "Concat" or joint.domain or joint.attributes.get("axis") != 1:
            continue
        conv = graph.sole_consumer(joint.outputs[0], readers)
        if conv is None or not _is_plain(graph, conv) or conv.inputs[0] != joint.outputs[0]:
            continue
        parts = [_traced(graph, producers, name) for name in joint.inputs]
        step = _common_step(graph, parts)
        if step is None or parts[0] is None:
            continue
        name = fresh_name(f"{conv.inputs[1]}_spread", taken)
        taken.add(name)
        begins = [part.begin for part in parts if part is not None]
        constants[name] = _spread(constants[conv.inputs[1]], begins, step)
        changed[conv.name] = _widened(conv, parts[0].image, name, step)
    if not changed:
        return graph
    nodes = tuple(changed.get(node.name, node) for node in graph.nodes)
    return prune_unused(replace(graph, nodes=nodes, constants=constants))


def _is_plain(graph: Graph, node: Node) -> bool:
    plain = node.op == "Conv" and not node.domain and node.attributes.get("group", 1) == 1
    if not plain or node.inputs[1] not in graph.constants:
        return False
    weights = graph.constants[node.inputs[1]]
    dilated = any(n != 1 for n in as_ints(np.asarray(node.attributes.get("dilations", (1,)))))
    explicit = node.attributes.get("auto_pad", "NOTSET") == "NOTSET"
    return weights.ndim == _IMAGE_RANK and not dilated and explicit


def _traced(graph: Graph, producers: Mapping[str, Node], name: str) -> _Part | None:
    """Follow slices of the image axes back to the image; ``None`` where they cut its end."""
    begin, step = [0, 0, 0, 0], [1, 1, 1, 1]
    while name in producers and producers[name].op == "Slice" and not producers[name].domain:
        node = producers[name]
        if not graph.has_type(node.inputs[0]):
            return None
        shape = graph.shape(node.inputs[0])
        stated = [graph.constants.get(node.optional_input(index)) for index in range(1, 5)]
        if len(shape) != _IMAGE_RANK or any(value is None for value in stated):
            return None
        starts, ends, axes, steps = (as_ints(value) for value in stated if value is not None)
        for axis, first, last, stride in zip(axes, starts, ends, steps, strict=True):
            where = axis % _IMAGE_RANK
            start, end, _ = slice(first, last).indices(shape[where])
            if stride < 1 or end != shape[where]:
                return None
            # This slice came later than those already seen: its pixels are counted in theirs.
            begin[where] = start + stride * begin[where]
            step[where] *= stride
        name = node.inputs[0]
    return _Part(name, tuple(begin), tuple(step))


def _common_step(graph: Graph, parts: list[_Part | None]) -> int | None:
    """Return the one step of all parts, if together they are parts of one whole image."""
    first = parts[0]
    if first is None or not graph.has_type(first.image) or first.image in graph.constants:
        return None
    shape = graph.shape(first.image)
    step = first.step[2]
    if len(shape) != _IMAGE_RANK or step == 1 or any(shape[axis] % step for axis in _IMAGE_AXES):
        return None
    for part in parts:
        if part is None or part.image != first.image or part.step != (1, 1, step, step):
            return None
        if part.begin[:2] != (0, 0) or any(part.begin[axis] >= step for axis in _IMAGE_AXES):
            return None
    return step


def _spread(weights: Array, begins: list[tuple[int, ...]], step: int) -> Array:
    """Return the kernel whose tap ``step * u + begin`` is tap ``u`` of the part ``begin``."""
    outputs, inputs, height, width = weights.shape
    channels = inputs // len(begins)
    result = np.zeros((outputs, channels, step * height, step * width), weights.dtype)
    for number, begin in enumerate(begins):
        part = weights[:, number * channels : (number + 1) * channels]
        result[:, :, begin[2] :: step, begin[3] :: step] += part
    return result


def _widened(conv: Node, image: str, weights: str, step: int) -> Node:
    scaled = {
        name: tuple(step * n for n in as_ints(np.asarray(conv.attributes.get(name, default))))
        for name, default in (("strides", (1, 1)), ("pads", (0, 0, 0, 0)))
    }
    kernel = {name: value for name, value in conv.attributes.items() if name != "kernel_shape"}
    return replace(conv, inputs=(image, weights, *conv.inputs[2:]), attributes={**kernel, **scaled})
