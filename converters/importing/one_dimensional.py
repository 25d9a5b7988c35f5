"""One-dimensional convolutions and pools, written as two-dimensional ones of height 1.

Neither quantized kernels nor TFLite know the one-dimensional forms, so Conv1d networks
would stay float without this. ``(N, C, L)`` becomes ``(N, C, 1, L)`` for the layer and
goes back behind it. Between two such layers the way back and forth cancels, and
element-wise operators move along, so that a whole network stays two-dimensional.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from converters.arrays import Array, as_ints
from converters.graph import Attribute, Graph, Node, TensorType, fresh_name, tensor_names

_WINDOWED: Final = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool"})
_GLOBAL: Final = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_ELEMENTWISE: Final = frozenset(
    {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Identity"}
    | {"Softplus", "Abs", "Neg", "Exp", "Sqrt", "Erf"}
)
"""Operators of one tensor (the rest are bounds) that work in any shape."""

_BROADCAST: Final = frozenset({"Add", "Sub", "Mul", "Div"})

_LINE_RANK: Final = 3
_HEIGHT_AXIS: Final = 2


def lift_lines(graph: Graph) -> Graph:
    """Return ``graph`` with one-dimensional layers written as two-dimensional ones."""
    lines = [node for node in graph.nodes if _is_line(graph, node)]
    if not lines:
        return graph
    work = _Lift(graph)
    for node in graph.nodes:
        work.visit(node)
    return work.finish()


def _is_line(graph: Graph, node: Node) -> bool:
    if node.domain or node.op not in _WINDOWED | _GLOBAL or any(node.outputs[1:]):
        return False
    names = (node.inputs[0], node.outputs[0])
    if any(not graph.has_type(n) or len(graph.shape(n)) != _LINE_RANK for n in names):
        return False
    weights = node.inputs[1:2]
    return all(name in graph.constants for name in weights)


@dataclass(slots=True)
class _Lift:
    """The new graph in the making.

    ``images`` maps a three-axis tensor to its four-axis twin; the three-axis tensor itself
    is made only when somebody asks for it.
    """

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.constants.update(self.graph.constants)
        self.types.update(self.graph.types)
        self.taken |= tensor_names(self.graph) | {node.name for node in self.graph.nodes}

    def visit(self, node: Node) -> None:
        if _is_line(self.graph, node):
            self._lift_layer(node)
        elif self._is_carried(node):
            self._lift_elementwise(node)
        else:
            for name in node.inputs:
                self._need_line(name)
            self.nodes.append(node)

    def finish(self) -> Graph:
        for name in self.graph.outputs:
            self._need_line(name)
        return replace(
            self.graph, nodes=tuple(self.nodes), constants=self.constants, types=self.types
        )

    def _is_carried(self, node: Node) -> bool:
        """Whether an element-wise node can follow its inputs into four axes."""
        if node.domain or len(node.outputs) != 1 or not self.graph.has_type(node.outputs[0]):
            return False
        if len(self.graph.shape(node.outputs[0])) != _LINE_RANK:
            return False
        if node.op in _ELEMENTWISE:
            return node.inputs[0] in self.images
        moving = [name for name in node.inputs if name not in self.graph.constants]
        return (
            node.op in _BROADCAST and bool(moving) and all(name in self.images for name in moving)
        )

    def _lift_elementwise(self, node: Node) -> None:
        if node.op in _ELEMENTWISE:
            inputs = (self.images[node.inputs[0]], *node.inputs[1:])
        else:
            inputs = tuple(
                self.images[n] if n in self.images else self._tall_constant(n) for n in node.inputs
            )
        self._append(node, inputs, node.attributes)

    def _lift_layer(self, node: Node) -> None:
        inputs = [self._need_image(node.inputs[0], node), *node.inputs[1:]]
        if node.op in ("Conv", "ConvTranspose"):
            inputs[1] = self._tall_constant(node.inputs[1])
        self._append(node, tuple(inputs), _tall_attributes(node))

    def _append(
        self, node: Node, inputs: tuple[str, ...], attributes: Mapping[str, Attribute]
    ) -> None:
        line = node.outputs[0]
        image = self._fresh(f"{line}_image")
        known = self.graph.types[line]
        self.types[image] = TensorType(known.dtype, _tall(known.shape))
        self.images[line] = image
        self.pending.add(line)
        self.nodes.append(replace(node, inputs=inputs, outputs=(image,), attributes=attributes))

    def _need_image(self, line: str, reader: Node) -> str:
        """Return the four-axis twin of ``line``, making it where there is none yet."""
        if line not in self.images:
            image = self._fresh(f"{line}_image")
            known = self.graph.types.get(line)
            kind = known.dtype if known else self.graph.dtype(line)
            self.types[image] = TensorType(kind, _tall(self.graph.shape(line)))
            self._reshape(f"{reader.name}_lift", line, image)
            self.images[line] = image
        return self.images[line]

    def _need_line(self, line: str) -> None:
        """Make the three-axis tensor itself, once, if so far only its twin exists."""
        if line in self.pending:
            self.pending.discard(line)
            self._reshape(f"{line}_lower", self.images[line], line)

    def _reshape(self, name: str, source: str, result: str) -> None:
        shape = self._fresh(f"{result}_shape")
        self.constants[shape] = np.asarray(self.types[result].shape, np.int64)
        self.nodes.append(
            Node(name=self._fresh(name), op="Reshape", inputs=(source, shape), outputs=(result,))
        )

    def _tall_constant(self, name: str) -> str:
        """Return a constant with an axis of height 1 before its last one."""
        value = self.graph.constants[name]
        if value.ndim == 0:
            return name
        tall = self._fresh(f"{name}_image")
        self.constants[tall] = np.expand_dims(value, -2)
        return tall

    def _fresh(self, wish: str) -> str:
        name = fresh_name(wish, self.taken)
        self.taken.add(name)
        return name


def _tall(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:_HEIGHT_AXIS], 1, *shape[_HEIGHT_AXIS:])


def _tall_attributes(node: Node) -> dict[str, Attribute]:
    """Return the attributes of a windowed layer with a height of 1 put before each width."""
    attributes: dict[str, Attribute] = dict(node.attributes)
    neutral = {
        "kernel_shape": 1,
        "strides": 1,
        "dilations": 1,
        "output_padding": 0,
        "output_shape": 1,
    }
    for name, height in neutral.items():
        if name in attributes:
            attributes[name] = (height, *as_ints(np.asarray(attributes[name])))
    if "pads" in attributes:
        before, after = as_ints(np.asarray(attributes["pads"]))
        attributes["pads"] = (0, before, 0, after)
    return attributes
