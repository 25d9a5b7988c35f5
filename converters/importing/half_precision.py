"""Half-precision models in single precision: the hub computes in float32 throughout."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Attribute, Graph, Node, TensorType

TOLERANCE: Final = 2e-2
"""Relative; float16 carries 11 bits (5e-4), and a deep network adds its roundings up."""

_FLOAT: Final = 1
_HALF_NUMBERS: Final = frozenset({10, 16})
"""float16 and bfloat16 in ONNX (onnx.proto, TensorProto.DataType)."""

_HALVES: Final = frozenset({"float16", "bfloat16"})
_TYPE_ATTRIBUTES: Final = frozenset({"to", "dtype"})


def is_half(dtype: np.dtype[np.generic]) -> bool:
    """Whether ``dtype`` is float16 or bfloat16."""
    return dtype.name in _HALVES


def uses_halves(graph: Graph) -> bool:
    """Whether any tensor of ``graph`` is known to be in half precision."""
    return any(is_half(value.dtype) for value in graph.constants.values()) or any(
        is_half(known.dtype) for known in graph.types.values()
    )


def widen_halves(graph: Graph) -> Graph:
    """Return ``graph`` with every float16 and bfloat16 tensor as float32.

    Inputs and outputs change with the rest. Conversions between floats become Identity.
    """
    if not uses_halves(graph):
        return graph
    types = {
        name: TensorType(np.dtype(np.float32), known.shape) if is_half(known.dtype) else known
        for name, known in graph.types.items()
    }
    return replace(
        graph,
        constants={name: _widened(value) for name, value in graph.constants.items()},
        types=types,
        nodes=tuple(_widen_node(node, types) for node in graph.nodes),
    )


def _widened(value: Array) -> Array:
    return value.astype(np.float32) if is_half(value.dtype) else value


def _widen_node(node: Node, types: Mapping[str, TensorType]) -> Node:
    attributes: dict[str, Attribute] = {
        name: _widen_attribute(name, value) for name, value in node.attributes.items()
    }
    if node.op == "Cast" and not node.domain and attributes.get("to") == _FLOAT:
        source = types.get(node.inputs[0])
        if source is not None and source.dtype == np.float32:
            return replace(node, op="Identity", attributes={})
    return replace(node, attributes=attributes)


def _widen_attribute(name: str, value: Attribute) -> Attribute:
    if isinstance(value, np.ndarray):
        return _widened(value)
    if name in _TYPE_ATTRIBUTES and isinstance(value, int) and value in _HALF_NUMBERS:
        return _FLOAT
    return value
