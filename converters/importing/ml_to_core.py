"""Linear models in ONNX's ``ai.onnx.ml`` operators, written with ONNX's core operators.

Exporters of classical models write ``Scaler``, ``LinearClassifier`` and their kin, which
no int8 kernel and no TFLite file knows; the same arithmetic as ``Gemm``, ``Softmax`` and
element-wise nodes can go everywhere. Trees and support vectors have no such form.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from converters.arrays import Array, Floats
from converters.graph import Attribute, Graph, Node, fresh_name, prune_unused, tensor_names

DOMAIN: Final = "ai.onnx.ml"

_MATRIX_RANK: Final = 2
_SMALLEST: Final = np.float32(1e-30)
"""Keeps a row of zeros from being divided by zero."""


class _Writer:
    """Collects the core nodes that stand for one node."""

    def __init__(self, node: Node, taken: set[str]) -> None:
        self.node = node
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self._taken = taken

    def constant(self, role: str, value: Array) -> str:
        """Return the name of a new constant."""
        name = self._fresh(role)
        self.constants[name] = value
        return name

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Attribute) -> str:
        """Append a node and return the name of its output."""
        name = self._fresh(op.lower())
        result = output or self._fresh(f"{op.lower()}_output")
        self.nodes.append(
            Node(name=name, op=op, inputs=inputs, outputs=(result,), attributes=attributes)
        )
        return result

    def finish(self, source: str, output: str, function: str = "") -> None:
        """Make ``source``, through a function of one input if any, the tensor ``output``."""
        attributes: dict[str, Attribute] = {"axis": -1} if function == "Softmax" else {}
        self.add(function or "Identity", source, output=output, **attributes)

    def _fresh(self, role: str) -> str:
        name = fresh_name(f"{self.node.name}_{role}", self._taken)
        self._taken.add(name)
        return name


def write_in_core(graph: Graph) -> Graph:
    """Return ``graph`` with every linear ``ai.onnx.ml`` node written in core operators.

    A node in a form that is not known to be the same stays as it is. New tensors have no
    types yet.
    """
    taken = tensor_names(graph) | {node.name for node in graph.nodes}
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        write = _WRITERS.get(node.op) if node.domain == DOMAIN else None
        writer = _Writer(node, taken)
        if write is not None and _is_matrix(graph, node) and write(writer, node, graph):
            nodes += writer.nodes
            constants |= writer.constants
        else:
            nodes.append(node)
    domains = {node.domain for node in nodes}
    others = {name: version for name, version in graph.other_opsets.items() if name in domains}
    return prune_unused(
        replace(graph, nodes=tuple(nodes), constants=constants, other_opsets=others)
    )


def _is_matrix(graph: Graph, node: Node) -> bool:
    """Whether the input is rows of float32; integers are converted by the operators silently."""
    source = node.inputs[0]
    if graph.has_type(source):
        return len(graph.shape(source)) == _MATRIX_RANK and graph.dtype(source) == np.float32
    maker = graph.producers().get(source)
    # Shape inference stops at these operators, whose results are rows of float32.
    return maker is not None and maker.domain == DOMAIN and maker.op in _FLOAT_ROWS


def _scaler(writer: _Writer, node: Node, _graph: Graph) -> bool:
    offset, scale = _row(node, "offset"), _row(node, "scale")
    centred = writer.add("Sub", node.inputs[0], writer.constant("offset", offset))
    writer.add("Mul", centred, writer.constant("scale", scale), output=node.outputs[0])
    return True


def _linear_regressor(writer: _Writer, node: Node, _graph: Graph) -> bool:
    if node.attributes.get("post_transform", "NONE") != "NONE":
        return False
    targets = node.attributes.get("targets", 1)
    if not isinstance(targets, int) or targets < 1:
        return False
    result = _dense(writer, node, targets)
    if result is None:
        return False
    writer.finish(result, node.outputs[0])
    return True


def _linear_classifier(writer: _Writer, node: Node, graph: Graph) -> bool:
    function = _FUNCTIONS.get(str(node.attributes.get("post_transform", "NONE")))
    labels = node.attributes.get("classlabels_ints") or node.attributes.get("classlabels_strings")
    label = node.outputs[0]
    if function is None or not isinstance(labels, tuple):
        return False
    if label in graph.consumers() or label in graph.outputs:
        return False
    # With one row for two classes, what the second score is depends on the reader.
    result = _dense(writer, node, len(labels))
    if result is None:
        return False
    writer.finish(result, node.outputs[1], function)
    return True


def _dense(writer: _Writer, node: Node, rows: int) -> str | None:
    """Append the product with the coefficients; ``None`` where they are no ``rows`` rows."""
    coefficients, intercepts = _row(node, "coefficients"), _row(node, "intercepts")
    if coefficients.size == 0 or coefficients.size % rows:
        return None
    if intercepts.size not in (0, rows):
        return None
    bias = intercepts if intercepts.size else np.zeros(rows, np.float32)
    return writer.add(
        "Gemm",
        node.inputs[0],
        writer.constant("weights", coefficients.reshape(rows, -1)),
        writer.constant("bias", bias),
        transB=1,
    )


def _normalizer(writer: _Writer, node: Node, graph: Graph) -> bool:
    norm = node.attributes.get("norm", "MAX")
    source = node.inputs[0]
    maker = graph.producers().get(source)
    if norm == "L1" and maker is not None and _sums_to_one(maker):
        writer.finish(source, node.outputs[0])
        return True
    axis = writer.constant("axis", np.asarray([1], np.int64))
    if norm == "L2":
        squares = writer.add("Mul", source, source)
        length = writer.add("Sqrt", writer.add("ReduceSum", squares, axis, keepdims=1))
    elif norm == "L1":
        length = writer.add("ReduceSum", writer.add("Abs", source), axis, keepdims=1)
    else:
        return False
    floor = writer.constant("smallest", np.asarray([_SMALLEST], np.float32))
    writer.add("Div", source, writer.add("Max", length, floor), output=node.outputs[0])
    return True


def _sums_to_one(node: Node) -> bool:
    """Whether the rows that ``node`` gives are shares of one already."""
    classifier = node.domain == DOMAIN and node.op == "LinearClassifier"
    return classifier and node.attributes.get("post_transform") == "SOFTMAX"


def _row(node: Node, name: str) -> Floats:
    return np.asarray(node.attributes.get(name, ()), np.float32).reshape(-1)


_FUNCTIONS: Final[Mapping[str, str]] = {"NONE": "", "LOGISTIC": "Sigmoid", "SOFTMAX": "Softmax"}
"""``post_transform`` -> core operator."""

_FLOAT_ROWS: Final = frozenset({"Scaler", "LinearRegressor", "LinearClassifier", "Normalizer"})

_WRITERS: Final[Mapping[str, Callable[[_Writer, Node, Graph], bool]]] = {
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "Normalizer": _normalizer,
    "Scaler": _scaler,
}
