"""Small steps from which handlers compose what TFLite has no single operator for.

Every function writes one operator and returns its result. Operands share one layout;
a plain number is broadcast. With ``result`` given, the step writes there, which is how the
last step of a composition makes the ONNX node's output.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import numpy as np

from converters.arrays import Array
from converters.graph import Node
from converters.tflite.layout import Perm, Value, identity
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.schema import Option

BOOL: Final[np.dtype[np.generic]] = np.dtype(np.bool_)
INT32: Final[np.dtype[np.generic]] = np.dtype(np.int32)
INT64: Final[np.dtype[np.generic]] = np.dtype(np.int64)
FLOAT: Final[np.dtype[np.generic]] = np.dtype(np.float32)
NUMBERS: Final = (FLOAT, INT32, INT64)

Operand: TypeAlias = Value | float | Array

_PLAIN: Final[Mapping[str, Option]] = {"fusedActivationFunction": "NONE"}
_BINARY_OPTIONS: Final[Mapping[str, tuple[str, Mapping[str, Option]] | None]] = {
    "ADD": ("AddOptions", {**_PLAIN, "potScaleInt16": False}),
    "SUB": ("SubOptions", {**_PLAIN, "potScaleInt16": False}),
    "MUL": ("MulOptions", _PLAIN),
    "DIV": ("DivOptions", _PLAIN),
    "MINIMUM": ("MaximumMinimumOptions", {}),
    "MAXIMUM": ("MaximumMinimumOptions", {}),
    "POW": ("PowOptions", {}),
    "SQUARED_DIFFERENCE": ("SquaredDifferenceOptions", {}),
    "FLOOR_DIV": ("FloorDivOptions", {}),
    "FLOOR_MOD": ("FloorModOptions", {}),
    "EQUAL": ("EqualOptions", {}),
    "NOT_EQUAL": ("NotEqualOptions", {}),
    "LESS": ("LessOptions", {}),
    "LESS_EQUAL": ("LessEqualOptions", {}),
    "GREATER": ("GreaterOptions", {}),
    "GREATER_EQUAL": ("GreaterEqualOptions", {}),
    "LOGICAL_AND": ("LogicalAndOptions", {}),
    "LOGICAL_OR": ("LogicalOrOptions", {}),
    "PRELU": None,
}
_TRUTHS: Final = frozenset(
    {"EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"}
    | {"LOGICAL_AND", "LOGICAL_OR"}
)
_UNARY_OPTIONS: Final[Mapping[str, tuple[str, Mapping[str, Option]]]] = {
    "ABS": ("AbsOptions", {}),
    "COS": ("CosOptions", {}),
    "EXP": ("ExpOptions", {}),
    "HARD_SWISH": ("HardSwishOptions", {}),
    "LOG_SOFTMAX": ("LogSoftmaxOptions", {}),
    "LOGICAL_NOT": ("LogicalNotOptions", {}),
    "NEG": ("NegOptions", {}),
    "SOFTMAX": ("SoftmaxOptions", {"beta": 1.0}),
    "SQUARE": ("SquareOptions", {}),
    "ZEROS_LIKE": ("ZerosLikeOptions", {}),
}

Reduction = Literal[
    "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"
]


def require_types(
    lowering: Lowering, node: Node, allowed: Sequence[np.dtype[np.generic]] = (FLOAT,)
) -> None:
    """Refuse ``node`` unless all its tensors have one of the ``allowed`` element types."""
    for name in (*node.inputs, *node.outputs):
        if name and lowering.graph.dtype(name) not in allowed:
            raise node.refuse(
                f"{lowering.graph.dtype(name)} arithmetic is not supported", SUGGESTION
            )


def unary(lowering: Lowering, code: str, source: Value, result: Value | None = None) -> Value:
    """Return ``code`` of every element."""
    result = result or lowering.temporary(source.shape, source.perm, source.dtype)
    lowering.emit(code, [source.tensor], result, _UNARY_OPTIONS.get(code))
    return result


def binary(
    lowering: Lowering, code: str, first: Operand, second: Operand, result: Value | None = None
) -> Value:
    """Return ``first code second`` with broadcasting; at least one operand is a value."""
    like = first if isinstance(first, Value) else second
    if not isinstance(like, Value):
        raise TypeError("one operand must be a value")
    values = [operand(lowering, entry, like) for entry in (first, second)]
    if result is None:
        ranks = [value for value in values if len(value.shape) == len(like.shape)]
        shape = np.broadcast_shapes(*(value.shape for value in ranks))
        kind = BOOL if code in _TRUTHS else like.dtype
        result = lowering.temporary(shape, like.perm, kind)
    lowering.emit(code, [value.tensor for value in values], result, _BINARY_OPTIONS[code])
    return result


def operand(lowering: Lowering, entry: Operand, like: Value) -> Value:
    """Return ``entry`` as a value; a number gets the element type of ``like``.

    An array is in ONNX's order, with as many axes as ``like`` or none.
    """
    if isinstance(entry, Value):
        return entry
    array = np.asarray(entry, like.dtype)
    perm = like.perm if array.ndim == len(like.perm) else identity(array.ndim)
    return lowering.add_constant("number", array, perm)


def reduce(
    lowering: Lowering,
    code: Reduction,
    source: Value,
    axes: Sequence[int],
    result: Value | None = None,
    *,
    keep: bool = True,
) -> Value:
    """Return a reduction of ``source`` over ONNX axes, which stay as size 1 if ``keep``.

    Without ``keep``, the axes left must be stored in ONNX's order.
    """
    if result is None:
        shape = tuple(
            1 if axis in axes else size
            for axis, size in enumerate(source.shape)
            if keep or axis not in axes
        )
        perm = source.perm if keep else identity(len(shape))
        result = lowering.temporary(shape, perm, source.dtype)
    stored = np.asarray(sorted(source.stored_axis(axis) for axis in axes), np.int32)
    lowering.emit(
        code,
        [source.tensor, lowering.raw_constant("axes", stored)],
        result,
        ("ReducerOptions", {"keepDims": keep}),
    )
    return result


def select(
    lowering: Lowering,
    condition: Value,
    first: Operand,
    second: Operand,
    result: Value | None = None,
) -> Value:
    """Return ``first`` where ``condition`` holds and ``second`` elsewhere, broadcast."""
    like = next((entry for entry in (first, second) if isinstance(entry, Value)), None)
    if like is None:
        raise TypeError("one operand must be a value")
    values = [condition, operand(lowering, first, like), operand(lowering, second, like)]
    if result is None:
        same = [value.shape for value in values if len(value.shape) == len(like.shape)]
        result = lowering.temporary(np.broadcast_shapes(*same), like.perm, like.dtype)
    lowering.emit("SELECT_V2", [value.tensor for value in values], result, ("SelectV2Options", {}))
    return result


def cast(
    lowering: Lowering, source: Value, dtype: np.dtype[np.generic], result: Value | None = None
) -> Value:
    """Return ``source`` as another element type; fractions are cut off."""
    result = result or lowering.temporary(source.shape, source.perm, dtype)
    lowering.emit("CAST", [source.tensor], result)
    return result


def reshape(lowering: Lowering, source: Value, shape: Sequence[int]) -> Value:
    """Return the stored bytes of ``source`` under another shape, in that shape's own order."""
    result = lowering.temporary(shape, identity(len(shape)), source.dtype, source.grid)
    lowering.emit_reshape(source, result)
    return result


def whole(lowering: Lowering, name: str, numbers: Sequence[int] | Array) -> int:
    """Store whole numbers as an int32 constant and return its index."""
    return lowering.raw_constant(name, np.asarray(numbers, np.int32))


def output(lowering: Lowering, node: Node, perm: Perm | None = None, index: int = 0) -> Value:
    """Return the value for output ``index`` of ``node``, in ONNX's order unless told."""
    name = node.outputs[index]
    return lowering.named(node, name, perm or identity(len(lowering.graph.shape(name))))


def common_layout(lowering: Lowering, node: Node, indices: Sequence[int] | None = None) -> Perm:
    """Return the layout for a broadcast: that of a full-rank operand, else ONNX's own."""
    rank = len(lowering.graph.shape(node.outputs[0]))
    names = [node.inputs[i] for i in indices] if indices is not None else list(node.inputs)
    moving = [name for name in names if name and not lowering.is_constant(name)]
    full = [name for name in moving if len(lowering.graph.shape(name)) == rank]
    # A computed operand with fewer axes aligns with the last ones, in ONNX's order.
    return lowering.layout_of(full[0]) if full and full == moving else identity(rank)


def broadcast_operand(lowering: Lowering, node: Node, index: int, perm: Perm) -> Value:
    """Return input ``index`` with as many axes as ``perm`` has, in that layout."""
    name = node.inputs[index]
    rank = len(perm)
    shape = lowering.graph.shape(name)
    if lowering.is_constant(name):
        array = lowering.graph.constants[name].reshape((1,) * (rank - len(shape)) + shape)
        return lowering.add_constant(name, array, perm, lowering.operand_grid(node, name))
    if len(shape) == rank:
        return lowering.read(node, index, perm)
    source = lowering.read_flat(node, index)
    full = (1,) * (rank - len(shape)) + shape
    result = lowering.temporary(full, identity(rank), source.dtype, source.grid)
    lowering.emit_reshape(source, result)
    return result
