"""Channel shuffles, however they are spelled, as one Gather of channels.

Exporters write the shuffle of ShuffleNet as Reshape, Transpose, Reshape and often two
Gathers. Rearranged images cost a TRANSPOSE each where channels are stored last, a Gather of
channels costs nothing of the kind. What a chain does is not guessed from its shapes: the
numbers of the elements are sent through it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, as_ints
from converters.graph import Graph, Node, fresh_name, prune_unused, tensor_names
from converters.onnx_format import elements

MAX_ELEMENTS: Final = 1 << 22
"""Larger tensors are left alone: following them would take memory and time."""

_IMAGE_RANK: Final = 4
_RESHAPES: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True, slots=True)
class _Moved:
    """A tensor whose elements are those of ``root`` at ``places``, moved about."""

    root: str
    places: npt.NDArray[np.int64]
    turned: bool


def gather_channels(graph: Graph) -> Graph:
    """Return ``graph`` with chains that only pick channels of an image written as Gather."""
    moved: dict[str, _Moved] = {}
    constants: dict[str, Array] = dict(graph.constants)
    taken = tensor_names(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        found = _follow(graph, node, moved)
        channels = _channels(graph, node, found) if found is not None else None
        if found is None or channels is None:
            if found is not None:
                moved[node.outputs[0]] = found
            nodes.append(node)
            continue
        name = fresh_name(f"{node.name}_channels", taken)
        taken.add(name)
        constants[name] = channels
        nodes.append(replace(node, op="Gather", inputs=(found.root, name), attributes={"axis": 1}))
    return prune_unused(replace(graph, nodes=tuple(nodes), constants=constants))


def _follow(graph: Graph, node: Node, moved: Mapping[str, _Moved]) -> _Moved | None:
    """Return where the elements of the node's output come from, if it only moves them."""
    if node.domain or node.op not in _RESHAPES | {"Transpose", "Gather"}:
        return None
    source, output = node.inputs[0], node.outputs[0]
    if source in graph.constants or not (graph.has_type(source) and graph.has_type(output)):
        return None
    shape = graph.shape(source)
    if elements(graph.shape(output)) > MAX_ELEMENTS:
        return None
    start = moved.get(source)
    if start is None:
        if len(shape) != _IMAGE_RANK or not 0 < elements(shape) <= MAX_ELEMENTS:
            return None
        start = _Moved(source, np.arange(elements(shape)).reshape(shape), turned=False)
    return _step(graph, node, start)


def _step(graph: Graph, node: Node, start: _Moved) -> _Moved | None:
    """Send the elements of ``start`` through one node."""
    if node.op in _RESHAPES:
        wanted = graph.shape(node.outputs[0])
        if elements(wanted) != start.places.size:  # no runtime will run it
            return None
        return replace(start, places=start.places.reshape(wanted))
    shape = start.places.shape
    if node.op == "Transpose":
        order = node.attributes.get("perm", tuple(reversed(range(len(shape)))))
        turned = start.places.transpose(as_ints(np.asarray(order)))
        return replace(start, places=turned, turned=True)
    axis = node.attributes.get("axis", 0)
    if node.inputs[1] not in graph.constants or not isinstance(axis, int):
        return None
    indices = graph.constants[node.inputs[1]].astype(np.int64)
    size = shape[axis]
    if np.any(indices < -size) or np.any(indices >= size):
        return None
    return replace(start, places=np.take(start.places, indices, axis=axis))


def _channels(graph: Graph, node: Node, found: _Moved) -> npt.NDArray[np.int64] | None:
    """Return the channels that a turned chain picks, ``(channels,)``, if that is all it does."""
    root = graph.shape(found.root)
    shape = graph.shape(node.outputs[0])
    if not found.turned or len(shape) != _IMAGE_RANK or shape[0] != root[0]:
        return None
    if shape[2:] != root[2:] or shape[1] < 1:
        return None
    picked = found.places[0, :, 0, 0] // (root[2] * root[3]) % root[1]
    every = np.arange(elements(root)).reshape(root)
    return picked if np.array_equal(np.take(every, picked, axis=1), found.places) else None
