"""Gemm in its general form, written as the simple operators that it stands for.

A dense layer stays Gemm. What remains has a transposed or computed factor, or adds a
matrix, and becomes Transpose, MatMul, Mul and Add: handlers need to know no variant of it.
"""

from dataclasses import replace

import numpy as np

from converters.arrays import Array
from converters.attributes import AttributeReader
from converters.graph import Graph, Node, TensorType, fresh_name, tensor_names

_BIAS = 2


def spell_out_gemms(graph: Graph) -> Graph:
    """Return ``graph`` without Gemm nodes but plain dense layers."""
    nodes: list[Node] = []
    spelling = _Spelling(graph)
    for node in graph.nodes:
        nodes += spelling.nodes_for(node) if _is_general(graph, node) else [node]
    return replace(graph, nodes=tuple(nodes), constants=spelling.constants, types=spelling.types)


def _is_general(graph: Graph, node: Node) -> bool:
    if node.op != "Gemm" or node.domain or not all(graph.has_type(n) for n in node.outputs):
        return False
    plain = dict(node.attributes) == {"transB": 1}
    return not plain or any(name not in graph.constants for name in node.inputs[1:])


class _Spelling:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._taken = tensor_names(graph)
        self.constants: dict[str, Array] = dict(graph.constants)
        self.types: dict[str, TensorType] = dict(graph.types)

    def nodes_for(self, node: Node) -> list[Node]:
        """Return the nodes that compute ``alpha A' B' + beta C``."""
        with AttributeReader(node) as attributes:
            turned = [attributes.integer(name, 0) == 1 for name in ("transA", "transB")]
            alpha = attributes.number("alpha", 1.0)
            beta = attributes.number("beta", 1.0)
        result = self.types[node.outputs[0]]
        nodes: list[Node] = []
        factors = list(node.inputs[:2])
        for index, name in enumerate(factors):
            if turned[index] and name in self.constants:
                factors[index] = self._fresh(f"{name}_turned")
                self.constants[factors[index]] = np.ascontiguousarray(self.constants[name].T)
            elif turned[index]:
                rows, columns = self._graph.shape(name)
                kind = TensorType(self._graph.dtype(name), (columns, rows))
                nodes.append(self._step(node, "Transpose", (name,), kind, perm=(1, 0)))
                factors[index] = nodes[-1].outputs[0]
        nodes.append(self._step(node, "MatMul", tuple(factors), result))
        if alpha != 1.0:
            nodes.append(self._scaled(node, nodes[-1].outputs[0], alpha, result))
        bias = node.optional_input(_BIAS)
        if bias:
            total = nodes[-1].outputs[0]
            if beta != 1.0:
                kind = TensorType(self._graph.dtype(bias), self._graph.shape(bias))
                nodes.append(self._scaled(node, bias, beta, kind))
                bias = nodes[-1].outputs[0]
            nodes.append(self._step(node, "Add", (total, bias), result))
        # The last step makes the output and keeps the name.
        nodes[-1] = replace(nodes[-1], name=node.name, outputs=node.outputs)
        return nodes

    def _scaled(self, node: Node, source: str, factor: float, kind: TensorType) -> Node:
        name = self._fresh(f"{node.name}_factor")
        self.constants[name] = np.asarray(factor, kind.dtype)
        return self._step(node, "Mul", (source, name), kind)

    def _step(
        self,
        node: Node,
        op: str,
        inputs: tuple[str, ...],
        kind: TensorType,
        **attributes: tuple[int, ...],
    ) -> Node:
        output = self._fresh(f"{node.name}_{op.lower()}")
        self.types[output] = kind
        return Node(name=output, op=op, inputs=inputs, outputs=(output,), attributes=attributes)

    def _fresh(self, wish: str) -> str:
        name = fresh_name(wish, self._taken)
        self._taken.add(name)
        return name
