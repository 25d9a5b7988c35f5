"""Elementwise operators: they keep whatever layout their inputs have."""

from typing import Final

import numpy as np

from converters.graph import Attribute
from converters.importing.tflite.build import Builder, Value
from converters.importing.tflite.file import FileOperator
from converters.tflite.layout import identity

UNARY: Final = {
    "LOGISTIC": "Sigmoid",
    "TANH": "Tanh",
    "ELU": "Elu",
    "EXP": "Exp",
    "LOG": "Log",
    "SQRT": "Sqrt",
    "NEG": "Neg",
    "ABS": "Abs",
    "SIN": "Sin",
    "COS": "Cos",
    "FLOOR": "Floor",
    "CEIL": "Ceil",
    "ROUND": "Round",
    "SIGN": "Sign",
    "LOGICAL_NOT": "Not",
    "HARD_SWISH": "HardSwish",
}
"""TFLite operator -> ONNX operator, same meaning."""

BINARY: Final = {
    "ADD": "Add",
    "SUB": "Sub",
    "MUL": "Mul",
    "DIV": "Div",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "POW": "Pow",
    "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual",
    "LESS": "Less",
    "LESS_EQUAL": "LessOrEqual",
    "EQUAL": "Equal",
    "LOGICAL_AND": "And",
    "LOGICAL_OR": "Or",
}

ELEMENT_TYPES: Final = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
}
"""Element type in TFLite's schema -> its number in ONNX (onnx.proto, TensorProto.DataType)."""

_FLOAT_ONLY: Final = frozenset({"DIV", "POW", "SQUARED_DIFFERENCE", "EXP", "LOG", "SQRT", "RSQRT"})
"""Integers round differently, or have no kernel."""


def _require_float(build: Builder, operator: FileOperator) -> None:
    kind = build.tensor(operator, 0).kind
    if operator.code in _FLOAT_ONLY and kind != "float32":
        raise operator.refuse(f"its input is {kind}, only float32 is imported")


def _number(build: Builder, value: float) -> str:
    return build.add_constant("number", np.asarray(value, np.float32))


def unary(build: Builder, operator: FileOperator) -> None:
    """One ONNX operator of the same meaning."""
    _require_float(build, operator)
    source = build.read(operator)
    build.write(operator, build.emit(UNARY[operator.code], [source.name])[0], source.perm)


def activation(build: Builder, operator: FileOperator) -> None:
    """RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1 as operators of their own."""
    source = build.read(operator)
    name = build.activate(operator, operator.code, source.name)
    build.write(operator, name, source.perm)


def leaky_relu(build: Builder, operator: FileOperator) -> None:
    """LEAKY_RELU."""
    source = build.read(operator)
    alpha: dict[str, Attribute] = {"alpha": float(operator.options["alpha"])}
    build.write(operator, build.emit("LeakyRelu", [source.name], alpha)[0], source.perm)


def square(build: Builder, operator: FileOperator) -> None:
    """SQUARE."""
    source = build.read(operator)
    build.write(operator, build.emit("Mul", [source.name, source.name])[0], source.perm)


def reciprocal_root(build: Builder, operator: FileOperator) -> None:
    """RSQRT: one over the square root."""
    _require_float(build, operator)
    source = build.read(operator)
    root = build.emit("Sqrt", [source.name])[0]
    build.write(operator, build.emit("Reciprocal", [root])[0], source.perm)


def gelu(build: Builder, operator: FileOperator) -> None:
    """GELU, exact or by tanh, spelled out: operator set 17 has none.

    Source: Hendrycks and Gimpel 2016, section 2.
    """
    source = build.read(operator)
    x = source.name
    if operator.options["approximate"]:
        cube = build.emit("Mul", [build.emit("Mul", [x, x])[0], x])[0]
        bent = build.emit("Mul", [cube, _number(build, 0.044715)])[0]
        inner = build.emit(
            "Mul", [build.emit("Add", [x, bent])[0], _number(build, float(np.sqrt(2 / np.pi)))]
        )[0]
        curve = build.emit("Tanh", [inner])[0]
    else:
        inner = build.emit("Div", [x, _number(build, float(np.sqrt(2.0)))])[0]
        curve = build.emit("Erf", [inner])[0]
    grown = build.emit("Add", [curve, _number(build, 1.0)])[0]
    product = build.emit("Mul", [x, grown])[0]
    build.write(operator, build.emit("Mul", [product, _number(build, 0.5)])[0], source.perm)


def cast(build: Builder, operator: FileOperator) -> None:
    """CAST, to the type that the output has."""
    source = build.read(operator)
    name = to_kind(build, operator, source.name, build.target(operator).kind)
    build.write(operator, name, source.perm)


def to_kind(build: Builder, operator: FileOperator, name: str, kind: str) -> str:
    """Return ``name`` as element type ``kind`` of the schema."""
    number = ELEMENT_TYPES.get(kind)
    if number is None:
        raise operator.refuse(f"the type {kind} is not supported")
    return build.emit("Cast", [name], {"to": number})[0]


def dequantize(build: Builder, operator: FileOperator) -> None:
    """DEQUANTIZE of constants (stored in float16 or int8) and of half floats."""
    tensor = build.tensor(operator, 0)
    if build.is_constant(operator, 0):
        value = build.constant(operator, 0).astype(np.float32)
        name = build.add_constant(tensor.name, value)
    elif tensor.kind == "float16":
        name = to_kind(
            build, operator, build.read(operator, 0, identity(len(tensor.shape))).name, "float32"
        )
    else:
        raise operator.refuse(f"its input {tensor.name} is computed in {tensor.kind}")
    build.write(operator, name, identity(len(tensor.shape)))


def aligned(build: Builder, operator: FileOperator, indices: tuple[int, ...]) -> list[Value]:
    """Return inputs in one layout, so that ONNX broadcasts them as TFLite does.

    A value of lower rank lines up with the last axes, which another layout has elsewhere:
    its shape is filled with ones first, constants at no cost.
    """
    rank = len(build.target(operator).shape)
    stored = [build.read(operator, i) for i in indices if not build.is_constant(operator, i)]
    perm = next(
        (v.perm for v in stored if len(v.shape) == rank and v.perm != identity(rank)),
        identity(rank),
    )
    found = []
    for index in indices:
        shape = build.tensor(operator, index).shape
        if len(shape) > rank:
            raise operator.refuse(f"input {list(shape)} is larger than its output")
        full = (1,) * (rank - len(shape)) + shape
        if build.is_constant(operator, index):
            array = build.constant(operator, index).reshape(full).transpose(perm)
            found.append(Value(build.add_constant("operand", array), full, perm))
        elif len(shape) == rank:
            found.append(build.read(operator, index, perm))
        elif not shape or perm == identity(rank):
            found.append(Value(build.read(operator, index, identity(len(shape))).name, full, perm))
        else:
            flat = build.read(operator, index, identity(len(shape)))
            widened = Value(build.reshape(flat.name, full), full, identity(rank))
            found.append(build.reorder(widened, perm))
    return found


def binary(build: Builder, operator: FileOperator) -> None:
    """One ONNX operator of the same meaning, with TFLite's fused activation behind it."""
    _require_float(build, operator)
    first, second = aligned(build, operator, (0, 1))
    made = build.emit(BINARY[operator.code], [first.name, second.name])[0]
    build.write(operator, made, first.perm)


def squared_difference(build: Builder, operator: FileOperator) -> None:
    """SQUARED_DIFFERENCE."""
    _require_float(build, operator)
    first, second = aligned(build, operator, (0, 1))
    difference = build.emit("Sub", [first.name, second.name])[0]
    build.write(operator, build.emit("Mul", [difference, difference])[0], first.perm)


def not_equal(build: Builder, operator: FileOperator) -> None:
    """NOT_EQUAL."""
    first, second = aligned(build, operator, (0, 1))
    same = build.emit("Equal", [first.name, second.name])[0]
    build.write(operator, build.emit("Not", [same])[0], first.perm)


def select(build: Builder, operator: FileOperator) -> None:
    """SELECT and SELECT_V2; the former only where shapes broadcast by ONNX's rule."""
    shapes = {build.tensor(operator, index).shape for index in range(3)}
    if operator.code == "SELECT" and len(shapes) > 1:
        raise operator.refuse("its inputs have different shapes")
    values = aligned(build, operator, (0, 1, 2))
    made = build.emit("Where", [value.name for value in values])[0]
    build.write(operator, made, values[0].perm)


def prelu(build: Builder, operator: FileOperator) -> None:
    """PRELU: the slope broadcasts to the input."""
    source, slope = aligned(build, operator, (0, 1))
    build.write(operator, build.emit("PRelu", [source.name, slope.name])[0], source.perm)
