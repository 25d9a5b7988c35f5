"""Smaller ONNX files by their weights alone: float16 storage, or dynamic int8 products.

Neither needs calibration. Convolutions are left in float by the dynamic form: ONNX Runtime
computes dynamically quantized ones several times slower than float ones.
"""

from dataclasses import replace

import numpy as np

from converters.arrays import Array
from converters.graph import Graph, Node, fresh_name, prune_unused, tensor_names
from converters.onnx_format import serialize
from converters.quant.operators import WEIGHTED
from converters.quant.weights import weight_grid
from edgeops.errors import ConversionError

_ONNX_FLOAT = 1
"""TensorProto.FLOAT, the target of Cast."""

_DENSE_INPUTS = 3
"""Input, weights, bias: what a canonical dense layer has."""


def write_onnx_float16(graph: Graph) -> bytes:
    """Return ``graph`` with weights stored in float16 and computed in float32.

    Raises:
        ConversionError: A weight is too large for float16.
    """
    constants = dict(graph.constants)
    nodes: list[Node] = []
    taken = tensor_names(graph)
    for node in graph.nodes:
        weight = node.optional_input(1)
        if node.op in WEIGHTED and not node.domain and weight in graph.constants:
            half, full = _fresh(taken, f"{weight}_half"), _fresh(taken, f"{weight}_full")
            value = graph.constants[weight]
            if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
                raise ConversionError(f"weights {weight!r} are too large for float16")
            constants[half] = value.astype(np.float16)
            nodes.append(
                Node(
                    name=_fresh(taken, f"{node.name}_weights"),
                    op="Cast",
                    inputs=(half,),
                    outputs=(full,),
                    attributes={"to": _ONNX_FLOAT},
                )
            )
            node = replace(node, inputs=(node.inputs[0], full, *node.inputs[2:]))  # noqa: PLW2901 - the node as written
        nodes.append(node)
    return serialize(prune_unused(replace(graph, nodes=tuple(nodes), constants=constants)))


def write_onnx_dynamic(graph: Graph) -> tuple[bytes, frozenset[str]]:
    """Return ``graph`` with dense layers in int8, and the names of those layers.

    Each quantizes its input when it runs:
    ``DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul -> Add``.

    Raises:
        ConversionError: There is no dense layer: nothing would be gained.
    """
    constants = dict(graph.constants)
    taken = tensor_names(graph)
    nodes: list[Node] = []
    done: set[str] = set()
    for node in graph.nodes:
        plain = node.op == "Gemm" and not node.domain and len(node.inputs) == _DENSE_INPUTS
        if plain and all(name in graph.constants for name in node.inputs[1:]):
            nodes += _dynamic_dense(node, constants, taken)
            done.add(node.name)
        else:
            nodes.append(node)
    if not done:
        raise ConversionError("dynamic-int8 changes dense layers only, and the model has none")
    data = serialize(prune_unused(replace(graph, nodes=tuple(nodes), constants=constants)))
    return data, frozenset(done)


def _dynamic_dense(node: Node, constants: dict[str, Array], taken: set[str]) -> list[Node]:
    def name(what: str) -> str:
        return _fresh(taken, f"{node.name}_{what}")

    rows = constants[node.inputs[1]]
    grid = weight_grid(rows, None, 1.0, 0)
    weights, scales = name("weights"), name("weight_scales")
    constants[weights] = np.ascontiguousarray(grid.quantize(rows).T)
    constants[scales] = np.asarray(grid.scale, np.float32)
    stored, scale, zero = name("input"), name("input_scale"), name("input_zero")
    total, real, both, product = name("sum"), name("real"), name("scales"), name("product")
    return [
        Node(
            name=name("quantize"),
            op="DynamicQuantizeLinear",
            inputs=(node.inputs[0],),
            outputs=(stored, scale, zero),
        ),
        Node(
            name=name("multiply"),
            op="MatMulInteger",
            inputs=(stored, weights, zero),
            outputs=(total,),
        ),
        Node(
            name=name("cast"),
            op="Cast",
            inputs=(total,),
            outputs=(real,),
            attributes={"to": _ONNX_FLOAT},
        ),
        Node(name=name("scale"), op="Mul", inputs=(scale, scales), outputs=(both,)),
        Node(name=name("rescale"), op="Mul", inputs=(real, both), outputs=(product,)),
        Node(name=name("bias"), op="Add", inputs=(product, node.inputs[2]), outputs=node.outputs),
    ]


def _fresh(taken: set[str], wish: str) -> str:
    name = fresh_name(wish, taken)
    taken.add(name)
    return name
