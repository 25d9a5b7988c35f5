"""Find which channels of a network must keep one scale: what a layer may be rescaled by.

Between two convolutions a channel may be divided by any positive number and multiplied by it
again. Sums tie channels of different tensors together; joins, splits and shuffles carry them
along; anything curved holds them fast.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converters.graph import Graph, Node
from converters.quant.operators import clip_bounds

Ids = npt.NDArray[np.int64]

_HOMOGENEOUS = frozenset(
    {
        "Relu",
        "LeakyRelu",
        "PRelu",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
    }
)
"""``f(s x) = s f(x)`` for positive ``s``, channel by channel. Not ReLU6, whose bound would
have to move with each channel, nor SiLU, HardSwish, sigmoid or tanh, which are curved."""


@dataclass(frozen=True, slots=True)
class ChannelClasses:
    """Which channels share a factor.

    Attributes:
        ids: Tensor name -> class of each channel (axis 1), 0 to ``count - 1``.
        free: ``[count]``, whether the class may be scaled at all.
        layers: Convolutions whose weights can take up factors, in the graph's order.
    """

    ids: Mapping[str, Ids]
    free: npt.NDArray[np.bool_]
    layers: tuple[Node, ...]

    @property
    def count(self) -> int:
        """Return the number of classes."""
        return self.free.size


def find_classes(graph: Graph) -> ChannelClasses:
    """Return the classes of all tensors that have channels."""
    search = _Search(graph)
    for name in graph.inputs:
        search.begin(name)
        search.hold((name,))
    for node in graph.nodes:
        search.visit(node)
    search.hold(graph.outputs)
    return search.classes()


def is_depthwise(node: Node) -> bool:
    """Whether each channel of the convolution ``node`` is computed from one channel alone."""
    return node.attributes.get("group", 1) != 1


class _Search:
    """Walks a graph front to back; union-find over the channels it meets."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parent: list[int] = []
        self._ids: dict[str, Ids] = {}
        self._held: set[int] = set()
        self._layers: list[Node] = []

    def begin(self, tensor: str) -> None:
        """Give every channel of ``tensor`` a class of its own."""
        first, count = len(self._parent), self._channels(tensor)
        if count:
            self._parent += range(first, first + count)
            self._ids[tensor] = np.arange(first, first + count)

    def hold(self, tensors: Iterable[str]) -> None:
        """Forbid to scale the channels of ``tensors``."""
        for tensor in tensors:
            self._held.update(int(number) for number in self._ids.get(tensor, ()))

    def visit(self, node: Node) -> None:
        """Take up what ``node`` does to channels."""
        output = node.outputs[0]
        if self._is_layer(node):
            self._layers.append(node)
            self.begin(output)
            return
        if node.op == "Split" and not node.domain and self._split(node):
            return
        carried = None if any(node.outputs[1:]) or node.domain else self._carried(node)
        if carried is not None and carried.size == self._channels(output):
            self._ids[output] = carried
            return
        self.hold(node.inputs)
        made = [name for name in node.outputs if name]
        for name in made:
            self.begin(name)
        self.hold(made)

    def classes(self) -> ChannelClasses:
        """Return what was found, numbered without gaps."""
        roots = np.asarray([self._root(n) for n in range(len(self._parent))], np.int64)
        kept, numbers = np.unique(roots, return_inverse=True)
        free = np.ones(kept.size, np.bool_)
        free[numbers[sorted(self._held)]] = False
        ids = {name: numbers[own] for name, own in self._ids.items()}
        return ChannelClasses(ids, free, tuple(self._layers))

    def _carried(self, node: Node) -> Ids | None:  # noqa: PLR0911 - one for each operator
        """Return the classes of the output's channels; ``None`` if they cannot be scaled."""
        graph, source = self._graph, self._ids.get(node.inputs[0])
        if source is None:
            return None
        if node.op == "PRelu":
            return source if node.inputs[1] in graph.constants else None
        if node.op in _HOMOGENEOUS or clip_bounds(graph, node) == (0.0, np.inf):
            return source
        match node.op:
            case "Resize":
                # Interpolation is linear, but what lies outside a crop has a value of its own.
                mode = node.attributes.get("coordinate_transformation_mode")
                return None if mode == "tf_crop_and_resize" else source
            case "Pad":
                value = graph.constants.get(node.optional_input(2))
                zero = not node.optional_input(2) or (value is not None and not value.any())
                return source if zero or node.attributes.get("mode") == "reflect" else None
            case "Gather":
                index = graph.constants.get(node.inputs[1])
                plain = index is not None and index.ndim == 1 and node.attributes.get("axis") == 1
                return source[index] if index is not None and plain else None
            case "Concat":
                parts = [self._ids[name] for name in node.inputs if name in self._ids]
                whole = len(parts) == len(node.inputs) and node.attributes.get("axis") == 1
                return np.concatenate(parts) if whole else None
            case "Add":
                other = self._ids.get(node.inputs[1])
                if other is None or len({graph.shape(name) for name in node.inputs}) > 1:
                    return None
                self._tie(source, other)
                return source
        return None

    def _split(self, node: Node) -> bool:
        """Hand the classes of the input's channels out to the parts, if it is cut by channel."""
        source = self._ids.get(node.inputs[0])
        if source is None or node.attributes.get("axis") != 1:
            return False
        sizes = [self._channels(name) for name in node.outputs]
        if sum(sizes) != source.size or not all(sizes):
            return False
        parts = np.split(source, np.cumsum(sizes)[:-1])
        self._ids |= dict(zip(node.outputs, parts, strict=True))
        return True

    def _channels(self, tensor: str) -> int:
        graph = self._graph
        shape = graph.shape(tensor) if graph.has_type(tensor) else ()
        return shape[1] if len(shape) > 2 else 0  # noqa: PLR2004 - batch, channels, places

    def _is_layer(self, node: Node) -> bool:
        """Whether ``node`` is a convolution whose weights may be changed here."""
        if node.op != "Conv" or node.domain or node.inputs[0] not in self._ids:
            return False
        channels = self._ids[node.inputs[0]].size
        constant = all(name in self._graph.constants for name in node.inputs[1:3] if name)
        return constant and node.attributes.get("group", 1) in (1, channels)

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def _tie(self, one: Ids, other: Ids) -> None:
        for a, b in zip(one, other, strict=True):
            self._parent[self._root(int(b))] = self._root(int(a))
