"""Arithmetic per element, activations and softmax."""

from typing import Final

import numpy as np

from converters.attributes import AttributeReader
from converters.graph import Node
from converters.quant.operators import clip_bounds
from converters.tflite.compose import (
    FLOAT,
    INT32,
    NUMBERS,
    broadcast_operand,
    common_layout,
    require_types,
)
from converters.tflite.layout import IMAGE_RANK, Value
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.ops_logic import check_rank, lower_many
from converters.tflite.schema import Option

_BINARY: Final = {
    "Add": ("ADD", "AddOptions"),
    "Sub": ("SUB", "SubOptions"),
    "Mul": ("MUL", "MulOptions"),
    "Div": ("DIV", "DivOptions"),
}

_OPERAND_TYPES: Final = {"Div": (FLOAT, INT32)}
"""Where not all numbers will do."""

_UNARY: Final = {
    "Relu": ("RELU", None),
    "Sigmoid": ("LOGISTIC", None),
    "Tanh": ("TANH", None),
    "HardSwish": ("HARD_SWISH", "HardSwishOptions"),
    "Exp": ("EXP", "ExpOptions"),
    "Sqrt": ("SQRT", None),
    "Log": ("LOG", None),
}

_LEAKY_SLOPE: Final = 0.01
_HARD_SIGMOID: Final = (0.2, 0.5)


def lower_binary(lowering: Lowering, node: Node) -> None:
    """Write Add, Sub, Mul (float32, int32, int64) and Div (float32, int32) with broadcasting."""
    with AttributeReader(node):
        pass  # import lifts the attributes of old operator sets
    require_types(lowering, node, _OPERAND_TYPES.get(node.op, NUMBERS))
    check_rank(lowering, node)
    code, kind = _BINARY[node.op]
    perm = common_layout(lowering, node)
    first, second = (broadcast_operand(lowering, node, i, perm) for i in (0, 1))
    result, activation = lowering.result(node, perm)
    fields: dict[str, Option] = {"fusedActivationFunction": activation}
    if code in ("ADD", "SUB"):
        fields["potScaleInt16"] = False
    lowering.emit(code, [first.tensor, second.tensor], result, (kind, fields))


def lower_extreme(lowering: Lowering, node: Node) -> None:
    """Write Min and Max of any number of tensors, in integers of two."""
    if not lowering.is_integer(node):
        lower_many(lowering, node)
        return
    with AttributeReader(node):
        pass
    perm = common_layout(lowering, node)
    first, second = (broadcast_operand(lowering, node, i, perm) for i in (0, 1))
    result = lowering.named(node, node.outputs[0], perm)
    code = "MINIMUM" if node.op == "Min" else "MAXIMUM"
    lowering.emit(code, [first.tensor, second.tensor], result, ("MaximumMinimumOptions", {}))


def lower_unary(lowering: Lowering, node: Node) -> None:
    """Write an activation or function that takes one tensor."""
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    code, kind = _UNARY[node.op]
    source = lowering.read(node)
    result = lowering.named(node, node.outputs[0], source.perm)
    lowering.emit(code, [source.tensor], result, (kind, {}) if kind else None)


def lower_leaky_relu(lowering: Lowering, node: Node) -> None:
    """Write LeakyRelu."""
    with AttributeReader(node) as attributes:
        alpha = attributes.number("alpha", _LEAKY_SLOPE)
    require_types(lowering, node)
    source = lowering.read(node)
    result = lowering.named(node, node.outputs[0], source.perm)
    lowering.emit("LEAKY_RELU", [source.tensor], result, ("LeakyReluOptions", {"alpha": alpha}))


def lower_clip(lowering: Lowering, node: Node) -> None:
    """Write Clip as a ReLU where there is one, else as MINIMUM and MAXIMUM."""
    with AttributeReader(node):
        pass
    require_types(lowering, node)
    bounds = clip_bounds(lowering.graph, node)
    if bounds is None:
        raise node.refuse("its bounds are not constant", SUGGESTION)
    source = lowering.read(node)
    named = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
    if bounds in named:
        result = lowering.named(node, node.outputs[0], source.perm)
        lowering.emit(named[bounds], [source.tensor], result)
        return
    if lowering.is_integer(node):
        raise node.refuse("integer kernels know no such bounds", SUGGESTION)
    result = lowering.named(node, node.outputs[0], source.perm)
    _emit_bounds(lowering, source, result, bounds)


def _emit_bounds(
    lowering: Lowering, source: Value, result: Value, bounds: tuple[float, float]
) -> None:
    # ONNX applies the lower bound first, so the upper one wins where they cross.
    limits = [
        (code, bound)
        for code, bound in (("MAXIMUM", bounds[0]), ("MINIMUM", bounds[1]))
        if np.isfinite(bound)
    ]
    if not limits:
        lowering.emit_reshape(source, result)
    for position, (code, bound) in enumerate(limits):
        last = position == len(limits) - 1
        target = result if last else lowering.temporary(source.shape, source.perm)
        limit = lowering.raw_constant("bound", np.asarray(bound, np.float32))
        lowering.emit(code, [source.tensor, limit], target, ("MaximumMinimumOptions", {}))
        source = target


def lower_hard_sigmoid(lowering: Lowering, node: Node) -> None:
    """Write HardSigmoid, ``max(0, min(1, alpha x + beta))``, step by step."""
    with AttributeReader(node) as attributes:
        alpha = attributes.number("alpha", _HARD_SIGMOID[0])
        beta = attributes.number("beta", _HARD_SIGMOID[1])
    require_types(lowering, node)
    source = lowering.read(node)
    for code, number in (("MUL", alpha), ("ADD", beta)):
        target = lowering.temporary(source.shape, source.perm)
        factor = lowering.raw_constant("number", np.asarray(number, np.float32))
        kind = _BINARY[code.capitalize()][1]
        fields: dict[str, Option] = {"fusedActivationFunction": "NONE"}
        lowering.emit(code, [source.tensor, factor], target, (kind, fields))
        source = target
    result = lowering.named(node, node.outputs[0], source.perm)
    _emit_bounds(lowering, source, result, (0.0, 1.0))


def lower_softmax(lowering: Lowering, node: Node) -> None:
    """Write Softmax; TFLite works along the last stored axis, so that one must be right."""
    rank = len(lowering.graph.shape(node.inputs[0]))
    with AttributeReader(node) as attributes:
        axis = attributes.integer("axis", -1) % rank
    require_types(lowering, node)
    if rank > IMAGE_RANK:
        raise node.refuse(f"softmax on {rank} axes is not supported", SUGGESTION)
    perm = lowering.layout_of(node.inputs[0])
    if perm[-1] != axis:
        perm = (*(other for other in range(rank) if other != axis), axis)
    source = lowering.read(node, 0, perm)
    result = lowering.named(node, node.outputs[0], perm)
    lowering.emit("SOFTMAX", [source.tensor], result, ("SoftmaxOptions", {"beta": 1.0}))
