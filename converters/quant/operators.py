"""What quantization knows about each operator; everything else stays float."""

from typing import Final

import numpy as np

from converters.graph import Graph, Node
from converters.onnx_format import elements
from converters.quant.plan import Grid

WEIGHTED: Final = frozenset({"Conv", "Gemm", "MatMul"})
"""Layers with constant weights: nearly all the arithmetic of a network."""

SAME_GRID: Final = frozenset(
    {
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Pad",
        "Resize",
        "Identity",
    }
)
"""Output values lie within the input's range, and TFLite's kernels demand equal grids."""

OWN_GRID: Final = frozenset({"Add", "Mul", "Sub", "LeakyRelu", "Relu", "Clip"})
"""Element-wise arithmetic with integer kernels of its own and a calibrated output grid."""

FIXED_GRID: Final = {
    "Sigmoid": Grid(scale=(1 / 256,), zero_point=(-128,)),
    "Tanh": Grid(scale=(1 / 128,), zero_point=(0,)),
}
"""Output grids that TFLite's table-driven kernels prescribe."""

_IMAGE_RANK: Final = 4


def multiply_accumulates(graph: Graph, node: Node) -> int:
    """Return how many multiply-accumulates ``node`` takes for one inference."""
    if node.domain or node.op not in (*WEIGHTED, "ConvTranspose"):
        return 0
    if not all(graph.has_type(name) for name in (*node.inputs[:2], node.outputs[0])):
        return 0
    weights = graph.shape(node.inputs[1])
    if node.op == "Conv":
        return elements(graph.shape(node.outputs[0])) * elements(weights[1:])
    if node.op == "ConvTranspose":
        return elements(graph.shape(node.inputs[0])) * elements(weights[1:])
    inner = graph.shape(node.inputs[0])[-1]
    return elements(graph.shape(node.outputs[0])) * inner


def clip_bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Return the bounds of a Relu or Clip with constant bounds, else ``None``."""
    if node.domain:
        return None
    if node.op == "Relu":
        return 0.0, np.inf
    if node.op != "Clip":
        return None
    low, high = node.optional_input(1), node.optional_input(2)
    if any(name and name not in graph.constants for name in (low, high)):
        return None
    return (
        float(graph.constants[low].item()) if low else -np.inf,
        float(graph.constants[high].item()) if high else np.inf,
    )


FUSABLE_BOUNDS: Final = frozenset({(0.0, np.inf), (0.0, 6.0), (-1.0, 1.0)})
"""Activations that integer kernels of both runtimes compute inside the layer before."""


def can_be_integer(graph: Graph, node: Node) -> str:
    """Return an empty text if ``node`` has an integer form, else the reason why not."""
    known = WEIGHTED | SAME_GRID | OWN_GRID | set(FIXED_GRID) | {"Concat"}
    if node.domain or node.op not in known:
        return "the operator stays float"
    if any(not graph.has_type(name) for name in (*node.inputs[:1], *node.outputs[:1])):
        return "its shape is not known"
    if graph.dtype(node.inputs[0]) != np.float32 or graph.dtype(node.outputs[0]) != np.float32:
        return "its tensors are not float32"
    return _form_refusal(graph, node)


def _form_refusal(graph: Graph, node: Node) -> str:
    """Return what about the attributes of a known operator has no integer form."""
    reasons = {
        "Conv": _conv_refusal,
        "Gemm": _gemm_refusal,
        "MatMul": _matmul_refusal,
        "Pad": _pad_refusal,
        "Resize": _resize_refusal,
        "Clip": _clip_refusal,
        "MaxPool": _pool_refusal,
    }
    check = reasons.get(node.op)
    return check(graph, node) if check else ""


def _conv_refusal(graph: Graph, node: Node) -> str:
    if any(name not in graph.constants for name in node.inputs[1:3]):
        return "its weights are computed at run time"
    return "" if len(graph.shape(node.inputs[0])) == _IMAGE_RANK else "it is not two-dimensional"


def _gemm_refusal(graph: Graph, node: Node) -> str:
    plain = node.attributes.get("transB", 0) == 1 and len(node.attributes) == 1
    constant = len(node.inputs) == 3 and all(n in graph.constants for n in node.inputs[1:])  # noqa: PLR2004 - input, weights, bias
    return "" if plain and constant else "it is no plain dense layer with constant weights"


def _matmul_refusal(graph: Graph, node: Node) -> str:
    weights = node.inputs[1]
    constant = weights in graph.constants and graph.constants[weights].ndim == 2  # noqa: PLR2004 - a matrix
    return "" if constant else "both factors are computed at run time"


def _pad_refusal(graph: Graph, node: Node) -> str:
    value = node.optional_input(2)
    zero = not value or (value in graph.constants and not np.any(graph.constants[value]))
    plain = node.attributes.get("mode", "constant") == "constant" and zero
    return "" if plain else "it pads with something else than zeros"


def _resize_refusal(_: Graph, node: Node) -> str:
    mode = node.attributes.get("mode", "nearest")
    return "" if mode in ("nearest", "linear") else f"mode {mode} stays float"


def _clip_refusal(graph: Graph, node: Node) -> str:
    fusable = clip_bounds(graph, node) in FUSABLE_BOUNDS
    return "" if fusable else "integer kernels know no such bounds"


def _pool_refusal(_: Graph, node: Node) -> str:
    return "it also returns indices" if any(node.outputs[1:]) else ""
