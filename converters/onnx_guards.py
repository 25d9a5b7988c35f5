"""What is written so that ONNX Runtime's optimizer leaves the model's meaning alone.

Seen with ONNX Runtime 1.31: a Pad with zeros that a pool reads is merged into the pool's own
padding. MaxPool then pads with minus infinity, so that negative maxima win over the zeros,
and pads as wide as the window make the runtime refuse the model. The merger asks whether
the value is exactly zero; the smallest normal float is not, and computes the same.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Graph, Node, fresh_name, tensor_names

ALMOST_ZERO: Final = np.asarray(np.finfo(np.float32).tiny)
_POOLS: Final = frozenset({"MaxPool", "AveragePool"})


def keep_pads_apart(graph: Graph) -> Graph:
    """Return ``graph`` with almost-zero in place of zero where a pool reads a Pad."""
    pooled = {node.inputs[0] for node in graph.nodes if node.op in _POOLS and not node.domain}
    touched = {node.name for node in graph.nodes if _pads_zeros(graph, node, pooled)}
    if not touched:
        return graph
    name = fresh_name("almost_zero", tensor_names(graph))
    constants: dict[str, Array] = {**graph.constants, name: ALMOST_ZERO}
    nodes = tuple(
        replace(node, inputs=(*node.inputs[:2], name, *node.inputs[3:]))
        if node.name in touched
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes, constants=constants)


def _pads_zeros(graph: Graph, node: Node, pooled: set[str]) -> bool:
    if node.op != "Pad" or node.domain or node.outputs[0] not in pooled or len(node.inputs) < 2:  # noqa: PLR2004 - data, pads
        return False
    if node.attributes.get("mode", "constant") != "constant":
        return False
    if graph.types.get(node.inputs[0]) is None or graph.dtype(node.inputs[0]) != np.float32:
        return False
    value = node.optional_input(2)
    return not value or (value in graph.constants and not np.any(graph.constants[value]))
