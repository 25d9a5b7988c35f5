"""Functions of one element: builtin where both runtimes have one, else step by step."""

import math
from typing import Final

import numpy as np

from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import (
    FLOAT,
    INT32,
    INT64,
    binary,
    cast,
    output,
    require_types,
    select,
    unary,
)
from converters.tflite.layout import Value
from converters.tflite.lowering import SUGGESTION, Lowering

_BUILTIN: Final = {
    "Abs": "ABS",
    "Ceil": "CEIL",
    "Cos": "COS",
    "Floor": "FLOOR",
    "Neg": "NEG",
    "Round": "ROUND",
    "Sin": "SIN",
}
_ALSO_WHOLE: Final = {"Abs": (FLOAT, INT32), "Neg": (FLOAT, INT32, INT64)}

_SELU: Final = (1.67326319217681884765625, 1.05070102214813232421875)
"""Defaults of ONNX: alpha and gamma."""

_ERF_P: Final = 0.3275911
_ERF_A: Final = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def lower_builtin(lowering: Lowering, node: Node) -> None:
    """Write a function that TFLite has as it is; Abs and Neg also of whole numbers."""
    with AttributeReader(node):
        pass
    require_types(lowering, node, _ALSO_WHOLE.get(node.op, (FLOAT,)))
    source = lowering.read(node)
    unary(lowering, _BUILTIN[node.op], source, output(lowering, node, source.perm))


def lower_elu(lowering: Lowering, node: Node) -> None:
    """Write Elu, Selu and Celu: ``gamma * (max(0, x) + alpha * (exp(min(0, x) / beta) - 1))``."""
    with AttributeReader(node) as attributes:
        alpha = attributes.number("alpha", _SELU[0] if node.op == "Selu" else 1.0)
        gamma = attributes.number("gamma", _SELU[1]) if node.op == "Selu" else 1.0
    require_types(lowering, node)
    if node.op == "Celu" and alpha == 0.0:
        raise node.refuse("alpha is 0", SUGGESTION)
    source = lowering.read(node)
    result = output(lowering, node, source.perm)
    if node.op != "Selu" and alpha == 1.0:
        unary(lowering, "ELU", source, result)
        return
    low = binary(lowering, "MINIMUM", source, 0.0)
    if node.op == "Celu":
        low = binary(lowering, "MUL", low, 1.0 / alpha)
    # The kernel of ELU computes exp(x) - 1 without losing digits near zero.
    low = binary(lowering, "MUL", unary(lowering, "ELU", low), alpha * gamma)
    high = unary(lowering, "RELU", source)
    if gamma != 1.0:
        high = binary(lowering, "MUL", high, gamma)
    binary(lowering, "ADD", high, low, result)


def lower_softplus(lowering: Lowering, node: Node) -> None:
    """Write Softplus as ``max(0, x) + log(1 + exp(-|x|))``, which cannot overflow."""
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    source = lowering.read(node)
    _softplus(lowering, source, output(lowering, node, source.perm))


def _softplus(lowering: Lowering, source: Value, result: Value | None = None) -> Value:
    small = unary(lowering, "EXP", unary(lowering, "NEG", unary(lowering, "ABS", source)))
    logarithm = unary(lowering, "LOG", binary(lowering, "ADD", small, 1.0))
    return binary(lowering, "ADD", unary(lowering, "RELU", source), logarithm, result)


def lower_mish(lowering: Lowering, node: Node) -> None:
    """Write Mish, ``x * tanh(softplus(x))``."""
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    source = lowering.read(node)
    gate = unary(lowering, "TANH", _softplus(lowering, source))
    binary(lowering, "MUL", source, gate, output(lowering, node, source.perm))


def lower_softsign(lowering: Lowering, node: Node) -> None:
    """Write Softsign, ``x / (1 + |x|)``."""
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    source = lowering.read(node)
    divisor = binary(lowering, "ADD", unary(lowering, "ABS", source), 1.0)
    binary(lowering, "DIV", source, divisor, output(lowering, node, source.perm))


def lower_swish(lowering: Lowering, node: Node) -> None:
    """Write Swish, ``x * sigmoid(alpha * x)``."""
    with AttributeReader(node) as attributes:
        alpha = attributes.number("alpha", 1.0)
    require_types(lowering, node)
    source = lowering.read(node)
    scaled = source if alpha == 1.0 else binary(lowering, "MUL", source, alpha)
    gate = unary(lowering, "LOGISTIC", scaled)
    binary(lowering, "MUL", source, gate, output(lowering, node, source.perm))


def lower_threshold(lowering: Lowering, node: Node) -> None:
    """Write ThresholdedRelu (x above alpha, else 0) and Shrink (towards zero by bias)."""
    require_types(lowering, node)
    source = lowering.read(node)
    if node.op == "ThresholdedRelu":
        with AttributeReader(node) as attributes:
            alpha = attributes.number("alpha", 1.0)
        above = binary(lowering, "GREATER", source, alpha)
        select(lowering, above, source, 0.0, output(lowering, node, source.perm))
        return
    with AttributeReader(node) as attributes:
        limit = attributes.number("lambd", 0.5)
        bias = attributes.number("bias", 0.0)
    if limit < 0:
        raise node.refuse("lambd is negative", SUGGESTION)
    above = binary(lowering, "GREATER", source, limit)
    below = binary(lowering, "LESS", source, -limit)
    high = select(lowering, above, binary(lowering, "SUB", source, bias), 0.0)
    low = binary(lowering, "ADD", source, bias)
    select(lowering, below, low, high, output(lowering, node, source.perm))


def lower_reciprocal(lowering: Lowering, node: Node) -> None:
    """Write Reciprocal as a division."""
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    source = lowering.read(node)
    binary(lowering, "DIV", 1.0, source, output(lowering, node, source.perm))


def lower_sign(lowering: Lowering, node: Node) -> None:
    """Write Sign as the difference of two comparisons."""
    with AttributeReader(node):
        pass
    require_types(lowering, node, (FLOAT, INT32, INT64))
    source = lowering.read(node)
    above, below = (
        cast(lowering, binary(lowering, code, source, 0.0), source.dtype)
        for code in ("GREATER", "LESS")
    )
    binary(lowering, "SUB", above, below, output(lowering, node, source.perm))


def lower_hyperbolic(lowering: Lowering, node: Node) -> None:
    """Write Sinh and Cosh from exponentials, and Tan from sine and cosine.

    Sinh near zero goes by way of ``exp(x) - 1``, which the kernel of ELU computes for
    negative numbers without losing digits.
    """
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    source = lowering.read(node)
    result = output(lowering, node, source.perm)
    if node.op == "Tan":
        sine, cosine = (unary(lowering, code, source) for code in ("SIN", "COS"))
        binary(lowering, "DIV", sine, cosine, result)
        return
    size = unary(lowering, "ABS", source)
    grown = unary(lowering, "EXP", size)
    shrunk = unary(lowering, "EXP", unary(lowering, "NEG", size))
    if node.op == "Cosh":
        binary(lowering, "MUL", binary(lowering, "ADD", grown, shrunk), 0.5, result)
        return
    # sinh|x| = -m * (e^|x| + 1) / 2 with m = e^-|x| - 1
    minus = unary(lowering, "ELU", unary(lowering, "NEG", size))
    twice = binary(lowering, "MUL", minus, binary(lowering, "ADD", grown, 1.0))
    half = binary(lowering, "MUL", twice, -0.5)
    negative = binary(lowering, "LESS", source, 0.0)
    select(lowering, negative, unary(lowering, "NEG", half), half, result)


def lower_is(lowering: Lowering, node: Node) -> None:
    """Write IsNaN as "differs from itself" and IsInf as comparisons with infinity."""
    with AttributeReader(node) as attributes:
        positive = attributes.integer("detect_positive", 1) == 1
        negative = attributes.integer("detect_negative", 1) == 1
    if lowering.graph.dtype(node.inputs[0]) != FLOAT:
        raise node.refuse("only float32 is supported", SUGGESTION)
    source = lowering.read(node)
    result = output(lowering, node, source.perm)
    if node.op == "IsNaN":
        binary(lowering, "NOT_EQUAL", source, source, result)
    elif positive and negative:
        binary(lowering, "EQUAL", unary(lowering, "ABS", source), math.inf, result)
    elif positive or negative:
        binary(lowering, "EQUAL", source, math.inf if positive else -math.inf, result)
    else:
        differs = binary(lowering, "NOT_EQUAL", source, source)
        binary(lowering, "LOGICAL_AND", differs, np.asarray(False), result)


def lower_erf(lowering: Lowering, node: Node) -> None:
    """Write Erf as ``1 - t (a1 + t (a2 + …)) exp(-x x)``, ``t = 1 / (1 + p |x|)``; within 3e-7.

    Source: Abramowitz and Stegun 1964, 7.1.26.
    """
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    source = lowering.read(node)
    size = unary(lowering, "ABS", source)
    divisor = binary(lowering, "ADD", binary(lowering, "MUL", size, _ERF_P), 1.0)
    t = binary(lowering, "DIV", 1.0, divisor)
    total = binary(lowering, "MUL", t, _ERF_A[-1])
    for coefficient in reversed(_ERF_A[:-1]):
        total = binary(lowering, "MUL", binary(lowering, "ADD", total, coefficient), t)
    square = binary(lowering, "MUL", source, source)
    tail = unary(lowering, "EXP", unary(lowering, "NEG", square))
    positive = binary(lowering, "SUB", 1.0, binary(lowering, "MUL", total, tail))
    negative = binary(lowering, "LESS", source, 0.0)
    mirrored = unary(lowering, "NEG", positive)
    select(lowering, negative, mirrored, positive, output(lowering, node, source.perm))


def lower_gelu(lowering: Lowering, node: Node) -> None:
    """Write Gelu as the builtin operator, exact or by tanh as the model says."""
    with AttributeReader(node) as attributes:
        kind = attributes.text("approximate", "none")
    require_types(lowering, node)
    if kind not in ("none", "tanh"):
        raise node.refuse(f"approximate={kind!r} is not supported")
    source = lowering.read(node)
    result = output(lowering, node, source.perm)
    lowering.emit("GELU", [source.tensor], result, ("GeluOptions", {"approximate": kind == "tanh"}))
