"""Comparisons, truth values, choices, powers and remainders, conversion of element types."""

from typing import Final

import numpy as np

from converters.arrays import as_floats
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    NUMBERS,
    binary,
    broadcast_operand,
    cast,
    common_layout,
    output,
    select,
    unary,
)
from converters.tflite.layout import IMAGE_RANK, Value
from converters.tflite.lowering import SUGGESTION, Lowering

_COMPARISONS: Final = {
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
}
_LOGIC: Final = {"And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Xor": "NOT_EQUAL"}


def check_rank(lowering: Lowering, node: Node) -> None:
    """Refuse a broadcast on more axes than the kernels of both runtimes have loops for."""
    shapes = [lowering.graph.shape(name) for name in node.inputs if name]
    rank = len(lowering.graph.shape(node.outputs[0]))
    plain = all(shape == shapes[0] for shape in shapes)
    if rank > IMAGE_RANK and not plain:
        raise node.refuse(f"arithmetic on {rank} axes is not supported", SUGGESTION)


def _pair(lowering: Lowering, node: Node) -> tuple[Value, Value, Value]:
    """Return both operands of a broadcast and the node's output, all in one layout."""
    check_rank(lowering, node)
    perm = common_layout(lowering, node)
    first, second = (broadcast_operand(lowering, node, i, perm) for i in (0, 1))
    return first, second, output(lowering, node, perm)


def lower_comparison(lowering: Lowering, node: Node) -> None:
    """Write Equal, Greater, Less and their kin, of float32, int32 and int64."""
    with AttributeReader(node):
        pass
    kind = lowering.graph.dtype(node.inputs[0])
    if kind not in NUMBERS and not (kind == BOOL and node.op == "Equal"):
        raise node.refuse(f"{kind} numbers are not supported", SUGGESTION)
    first, second, result = _pair(lowering, node)
    binary(lowering, _COMPARISONS[node.op], first, second, result)


def lower_logic(lowering: Lowering, node: Node) -> None:
    """Write And, Or, Xor and Not of truth values."""
    with AttributeReader(node):
        pass
    if node.op == "Not":
        source = lowering.read(node)
        unary(lowering, "LOGICAL_NOT", source, output(lowering, node, source.perm))
        return
    first, second, result = _pair(lowering, node)
    binary(lowering, _LOGIC[node.op], first, second, result)


def lower_where(lowering: Lowering, node: Node) -> None:
    """Write Where as SELECT_V2."""
    with AttributeReader(node):
        pass
    check_rank(lowering, node)
    perm = common_layout(lowering, node)
    condition, first, second = (broadcast_operand(lowering, node, i, perm) for i in range(3))
    select(lowering, condition, first, second, output(lowering, node, perm))


def lower_cast(lowering: Lowering, node: Node) -> None:
    """Write Cast between float32, int32, int64 and truth values.

    float32 to a truth value asks whether it differs from zero, as ONNX says.
    """
    with AttributeReader(node) as attributes:
        attributes.ignore("to", "saturate", "round_mode")  # the output's type says the first
    before, after = lowering.graph.dtype(node.inputs[0]), lowering.graph.dtype(node.outputs[0])
    for kind in (before, after):
        if kind not in (*NUMBERS, BOOL):
            raise node.refuse(f"element type {kind} is not supported", SUGGESTION)
    source = lowering.read(node)
    result = output(lowering, node, source.perm)
    if before == after:
        lowering.emit_reshape(source, result)
    elif after == BOOL:
        binary(lowering, "NOT_EQUAL", source, 0.0, result)
    else:
        cast(lowering, source, after, result)


def lower_pow(lowering: Lowering, node: Node) -> None:
    """Write Pow: constant powers 0.5, 1, 2 and 3 by products, others with the kernel."""
    with AttributeReader(node):
        pass
    kind = lowering.graph.dtype(node.inputs[0])
    if kind not in (FLOAT, INT32) or lowering.graph.dtype(node.inputs[1]) not in NUMBERS:
        raise node.refuse(f"powers of {kind} numbers are not supported", SUGGESTION)
    exponent = _sole_number(lowering, node)
    shape = lowering.graph.shape(node.inputs[0])
    if kind == FLOAT and exponent in (0.5, 1.0, 2.0, 3.0) and _keeps_shape(lowering, node, shape):
        source = lowering.read(node)
        result = output(lowering, node, source.perm)
        if exponent == 0.5:  # noqa: PLR2004 - a square root
            unary(lowering, "SQRT", source, result)
        elif exponent == 1.0:
            lowering.emit_reshape(source, result)
        elif exponent == 2.0:  # noqa: PLR2004 - a square
            binary(lowering, "MUL", source, source, result)
        else:
            binary(lowering, "MUL", binary(lowering, "MUL", source, source), source, result)
        return
    check_rank(lowering, node)
    perm = common_layout(lowering, node)
    first, second = (broadcast_operand(lowering, node, i, perm) for i in (0, 1))
    if second.dtype != kind:
        if kind == INT32 and second.dtype == FLOAT:
            raise node.refuse("a fractional power of whole numbers", SUGGESTION)
        second = cast(lowering, second, kind)
    binary(lowering, "POW", first, second, output(lowering, node, perm))


def _sole_number(lowering: Lowering, node: Node) -> float | None:
    value = lowering.graph.constants.get(node.inputs[1])
    return float(as_floats(value).item()) if value is not None and value.size == 1 else None


def _keeps_shape(lowering: Lowering, node: Node, shape: tuple[int, ...]) -> bool:
    return lowering.graph.shape(node.outputs[0]) == shape


def lower_mod(lowering: Lowering, node: Node) -> None:
    """Write Mod of whole numbers with the divisor's sign as FLOOR_MOD."""
    with AttributeReader(node) as attributes:
        attributes.only("fmod", 0)
    if lowering.graph.dtype(node.inputs[0]) not in (INT32, INT64):
        raise node.refuse("only whole numbers are supported", SUGGESTION)
    divisor = lowering.graph.constants.get(node.inputs[1])
    if divisor is None or not np.all(divisor):
        raise node.refuse("its divisor must be a constant without zeros", SUGGESTION)
    first, second, result = _pair(lowering, node)
    binary(lowering, "FLOOR_MOD", first, second, result)


def lower_many(lowering: Lowering, node: Node) -> None:
    """Write Min, Max, Sum and Mean of any number of tensors, two at a time."""
    with AttributeReader(node):
        pass
    kind = lowering.graph.dtype(node.inputs[0])
    allowed = NUMBERS if node.op in ("Min", "Max") else (FLOAT,)
    if kind not in allowed:
        raise node.refuse(f"{kind} arithmetic is not supported", SUGGESTION)
    check_rank(lowering, node)
    perm = common_layout(lowering, node)
    values = [broadcast_operand(lowering, node, i, perm) for i in range(len(node.inputs))]
    code = {"Min": "MINIMUM", "Max": "MAXIMUM"}.get(node.op, "ADD")
    total = values[0]
    last = len(values) - 1
    for position, value in enumerate(values[1:], start=1):
        final = position == last and node.op != "Mean"
        total = binary(
            lowering, code, total, value, output(lowering, node, perm) if final else None
        )
    if node.op == "Mean":
        binary(lowering, "MUL", total, 1 / len(values), output(lowering, node, perm))
    elif not last:
        lowering.emit_reshape(total, output(lowering, node, perm))
