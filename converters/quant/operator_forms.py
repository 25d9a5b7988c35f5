"""Which attributes of an operator have an integer form, operator by operator."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from converters.graph import Graph, Node

_IMAGE_RANK: Final = 4
_MATRIX_RANK: Final = 2

MAX_GATE_OFFSET: Final = 16.0
"""Of a HardSigmoid: a larger one clips nearly everything to one end."""


def form_refusal(graph: Graph, node: Node) -> str:
    """Return what about the attributes of a known operator has no integer form, or nothing."""
    check = _CHECKS.get(node.op)
    return check(graph, node) if check else ""


def _conv(graph: Graph, node: Node) -> str:
    if any(name not in graph.constants for name in node.inputs[1:3]):
        return "its weights are computed at run time"
    return "" if len(graph.shape(node.inputs[0])) == _IMAGE_RANK else "it is not two-dimensional"


def _conv_transpose(graph: Graph, node: Node) -> str:
    if node.attributes.get("group", 1) != 1:
        return "it has several groups"
    if node.attributes.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        return "no pads explain its output's size"
    return _conv(graph, node)


def _gemm(graph: Graph, node: Node) -> str:
    plain = node.attributes.get("transB", 0) == 1 and len(node.attributes) == 1
    constant = len(node.inputs) == 3 and all(n in graph.constants for n in node.inputs[1:])  # noqa: PLR2004 - input, weights, bias
    return "" if plain and constant else "it is no plain dense layer with constant weights"


def _matmul(graph: Graph, node: Node) -> str:
    weights = node.inputs[1]
    constant = weights in graph.constants and graph.constants[weights].ndim == _MATRIX_RANK
    if not constant or node.inputs[0] in graph.constants:
        return "both factors are computed at run time"
    return "" if len(graph.shape(node.inputs[0])) >= _MATRIX_RANK else "it multiplies a vector"


def _pad(graph: Graph, node: Node) -> str:
    value = node.optional_input(2)
    zero = not value or (value in graph.constants and not np.any(graph.constants[value]))
    plain = node.attributes.get("mode", "constant") == "constant" and zero
    return "" if plain else "it pads with something else than zeros"


def _resize(_: Graph, node: Node) -> str:
    mode = node.attributes.get("mode", "nearest")
    return "" if mode in ("nearest", "linear") else f"mode {mode} stays float"


def _pool(_: Graph, node: Node) -> str:
    if any(node.outputs[1:]):
        return "it also returns indices"
    return "" if node.attributes.get("dilations", (1, 1)) in ((1, 1), (1,)) else "it is dilated"


def _gather(graph: Graph, node: Node) -> str:
    return "" if node.inputs[1] in graph.constants else "its indices are computed at run time"


def _extreme(_: Graph, node: Node) -> str:
    return "" if len(node.inputs) == 2 else "it takes more or fewer than two inputs"  # noqa: PLR2004 - the kernels take two


def _prelu(graph: Graph, node: Node) -> str:
    return "" if node.inputs[1] in graph.constants else "its slopes are computed at run time"


def _mean(graph: Graph, node: Node) -> str:
    axes = node.optional_input(1)
    return "" if not axes or axes in graph.constants else "its axes are computed at run time"


def _hard_sigmoid(_: Graph, node: Node) -> str:
    slope = node.attributes.get("alpha", 0.2)
    offset = node.attributes.get("beta", 0.5)
    if not isinstance(slope, float) or slope <= 0:
        return "its slope is not positive"
    small = isinstance(offset, float) and abs(offset) <= MAX_GATE_OFFSET
    return "" if small else "its offset is too large"


def _flow(graph: Graph, node: Node) -> str:
    """Arithmetic needs one input at least that is computed."""
    constant = all(name in graph.constants for name in node.inputs if name)
    if constant:
        return "all its inputs are constants"
    known = all(graph.has_type(name) for name in node.inputs if name)
    return "" if known else "its shape is not known"


_CHECKS: Final[Mapping[str, Callable[[Graph, Node], str]]] = {
    "Add": _flow,
    "Concat": _flow,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gather": _gather,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "MatMul": _matmul,
    "Max": _extreme,
    "MaxPool": _pool,
    "Min": _extreme,
    "Mul": _flow,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMean": _mean,
    "Resize": _resize,
    "Sub": _flow,
}
