"""Compute at conversion time whatever does not depend on the model's inputs."""

from dataclasses import replace
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Graph, Node, fresh_name, prune_unused, tensor_names
from converters.onnx_format import elements, evaluate, infer_types
from edgeops.errors import ConversionError

MAX_FOLDED_ELEMENTS: Final = 1 << 24
"""A constant larger than this stays a computation, so that a small file cannot explode."""

MAX_ROUNDS: Final = 8
"""Each round lets shapes found in the last one fold further; real models need three."""

_NEVER: Final = frozenset(
    {
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
        "QuantizeLinear",
        "DequantizeLinear",
    }
)

_MULTIPLIES: Final = frozenset(
    {"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"}
)
"""Their outputs can be far larger than all their inputs together."""


def fold_constants(graph: Graph) -> Graph:
    """Return ``graph`` with constant nodes computed and shapes inferred until nothing changes.

    Raises:
        ConversionError: A constant node cannot be computed, or the shapes do not settle.
    """
    graph = prune_unused(graph)
    for _ in range(MAX_ROUNDS):
        folded = prune_unused(_fold_once(graph))
        if len(folded.nodes) == len(graph.nodes):
            return folded
        graph = infer_types(folded)
    raise ConversionError(f"constants do not settle after {MAX_ROUNDS} rounds")


def _fold_once(graph: Graph) -> Graph:
    constants = dict(graph.constants)
    kept: list[Node] = []
    for node in graph.nodes:
        values = _values(graph, node, constants)
        if values is None:
            kept.append(node)
            continue
        constants |= {n: v for n, v in zip(node.outputs, values, strict=True) if n}
    # An output that became a constant still needs a node to make it.
    taken = tensor_names(graph)
    for name in graph.outputs:
        if name in constants and name not in graph.constants:
            source, copy = (fresh_name(f"{name}_{what}", taken) for what in ("constant", "copy"))
            taken |= {source, copy}
            constants[source] = constants.pop(name)
            kept.append(Node(name=copy, op="Identity", inputs=(source,), outputs=(name,)))
    return replace(graph, nodes=tuple(kept), constants=constants)


def _values(graph: Graph, node: Node, constants: dict[str, Array]) -> list[Array] | None:
    """Return the node's outputs where they are constant, else ``None``."""
    if node.domain or node.op in _NEVER:
        return None
    if node.op == "Identity" and node.outputs[0] in graph.outputs:
        return None
    if node.op in ("Shape", "Size") and graph.has_type(node.inputs[0]):
        return _shape_values(graph, node)
    if any(name and name not in constants for name in node.inputs):
        return None
    if _may_be_huge(graph, node):
        return None
    inputs = [constants[name] if name else None for name in node.inputs]
    return evaluate(node, graph.opset, inputs)


def _may_be_huge(graph: Graph, node: Node) -> bool:
    sizes = [elements(graph.shape(out)) for out in node.outputs if graph.has_type(out)]
    # Inference tells how large these become, once their inputs are constants.
    unknown = len(sizes) < len([out for out in node.outputs if out])
    return any(size > MAX_FOLDED_ELEMENTS for size in sizes) or (unknown and node.op in _MULTIPLIES)


def _shape_values(graph: Graph, node: Node) -> list[Array]:
    shape = graph.shape(node.inputs[0])
    if node.op == "Size":
        return [np.asarray(elements(shape), dtype=np.int64)]
    start = node.attributes.get("start", 0)
    end = node.attributes.get("end", len(shape))
    if not isinstance(start, int) or not isinstance(end, int):
        raise node.refuse("start and end should be whole numbers")
    return [np.asarray(shape[start:end], dtype=np.int64)]
