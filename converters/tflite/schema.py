"""The one place that touches flatbuffers and the TFLite schema classes.

The schema module comes with ``ai-edge-litert``; it is generated, untyped code, so its
objects stay inside this module.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.arrays import Array
from converters.quant.plan import Grid

Option: TypeAlias = bool | int | float | str | tuple[int, ...]

MODEL_VERSION: Final = 3
FILE_IDENTIFIER: Final = b"TFL3"
DATA_ALIGNMENT: Final = 16
"""What the schema demands for constant data; SIMD loads on ARM rely on it."""

_TYPES: Final[Mapping[np.dtype[np.generic], int]] = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}

_ENUM_OPTIONS: Final[Mapping[str, Any]] = {
    "mode": schema.MirrorPadMode,
    "outputType": schema.TensorType,
    "padding": schema.Padding,
    "fusedActivationFunction": schema.ActivationFunctionType,
}

_LAST_OLD_CODE: Final = 127
_ZERO_POINT_BYTES: Final = 8
_LENGTH_BYTES: Final = 4
"""Before the elements of a vector stands their number."""


class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc] # untyped base class
    """A builder that aligns constants and stores equal vectors of zero points once.

    Runtimes demand a zero point of 8 bytes per channel of every weight and bias, and all of
    them are zero: a fifth of a small file, unless the tensors point to the same vector.
    """

    head: int

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._zero_points: dict[bytes, int] = {}
        self._before = 0
        self._vector_bytes = 0

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803 - the library's names
        """Begin a vector; constants lie on aligned offsets."""
        self._before = int(self.Offset())
        # Of all vectors in the schema's tables that we fill, only zero points are 64-bit.
        self._vector_bytes = elemSize * numElems if elemSize == _ZERO_POINT_BYTES else 0
        wanted = max(alignment, DATA_ALIGNMENT) if elemSize == 1 else alignment
        return int(super().StartVector(elemSize, numElems, wanted))

    def EndVector(self) -> int:  # noqa: N802 - the library's name
        """End a vector and return where it lies; equal zero points lie in one place."""
        place = int(super().EndVector())
        if not self._vector_bytes:
            return place
        content = bytes(self.Bytes[self.head : self.head + _LENGTH_BYTES + self._vector_bytes])
        known = self._zero_points.setdefault(content, place)
        if known != place:
            self.head = len(self.Bytes) - self._before  # take back what was just written
        return known


@dataclass(slots=True)
class FlatModel:
    """A TFLite model in the making: tensors, operators, then bytes."""

    _tensors: list[Any] = field(default_factory=list)
    _operators: list[Any] = field(default_factory=list)
    _buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    _codes: dict[tuple[str, int], int] = field(default_factory=dict)
    _constants: dict[tuple[object, ...], int] = field(default_factory=dict)

    def tensor(
        self, name: str, shape: Sequence[int], dtype: np.dtype[np.generic], grid: Grid | None
    ) -> int:
        """Add an activation and return its index.

        Args:
            name: For people and for inputs and outputs; may be empty.
            shape: As stored.
            dtype: One of float32, int32, int64, int8, uint8, int16, bool.
            grid: Of an int8 tensor; its axis counts stored axes.
        """
        tensor = schema.TensorT()
        # Short, because names cost bytes; but never none, which other tools fail on.
        tensor.name = name or f"_{len(self._tensors)}"
        tensor.shape = [int(size) for size in shape]
        tensor.type = _TYPES[dtype]
        tensor.buffer = 0
        if grid is not None:
            tensor.quantization = _quantization(grid)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, name: str, value: Array, grid: Grid | None = None) -> int:
        """Add a constant, or return the index of an equal one."""
        data = np.ascontiguousarray(value).tobytes()
        key = (data, value.shape, value.dtype.str, grid)
        if key in self._constants:
            return self._constants[key]
        index = self.tensor(name, value.shape, value.dtype, grid)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self._tensors[index].buffer = len(self._buffers)
        self._buffers.append(buffer)
        self._constants[key] = index
        return index

    def operator(
        self,
        code: str,
        version: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: tuple[str, Mapping[str, Option]] | None,
    ) -> None:
        """Add an operator.

        Args:
            code: Name in the schema's ``BuiltinOperator``.
            version: Lowest version of the kernel that does what is asked.
            inputs: Tensor indices; -1 is an input left out.
            outputs: Tensor indices.
            options: Name of the options table and its fields.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((code, version), len(self._codes))
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            kind, fields = options
            table = getattr(schema, f"{kind}T")()
            for name, value in fields.items():
                if not hasattr(table, name):
                    raise AttributeError(f"{kind} has no field {name}")
                setattr(table, name, _plain(name, value))
            operator.builtinOptions = table
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        self._operators.append(operator)

    def rename(self, tensor: int, name: str) -> None:
        """Give an output the name that the model's user knows."""
        self._tensors[tensor].name = name

    def finish(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """Return the file; the same calls give the same bytes."""
        self._tell_names_apart({*inputs.values(), *outputs.values()})
        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        model = schema.ModelT()
        model.version = MODEL_VERSION
        model.description = "edgeops"
        model.subgraphs, model.buffers = [graph], self._buffers
        model.operatorCodes = [_operator_code(code, version) for code, version in self._codes]
        model.signatureDefs = [_signature(inputs, outputs)]
        builder = AlignedBuilder(1 << 16)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _tell_names_apart(self, edges: Collection[int]) -> None:
        """Give every tensor a name of its own; those at the edges keep theirs."""
        taken = {self._tensors[index].name for index in edges}
        for index, tensor in enumerate(self._tensors):
            if index in edges:
                continue
            while tensor.name in taken:
                tensor.name = f"{tensor.name}_{index}"
            taken.add(tensor.name)

    def operator_names(self) -> list[str]:
        """Return the operators in order, by name."""
        names = {index: code for (code, _), index in self._codes.items()}
        return [names[operator.opcodeIndex] for operator in self._operators]


def _plain(name: str, value: Option) -> Any:  # noqa: ANN401 - what the generated classes take
    if isinstance(value, str):
        return getattr(_ENUM_OPTIONS[name], value)
    return list(value) if isinstance(value, tuple) else value


def _quantization(grid: Grid) -> Any:  # noqa: ANN401 - a generated class
    quantization = schema.QuantizationParametersT()
    quantization.scale = list(grid.scale)
    quantization.zeroPoint = list(grid.zero_point)
    quantization.quantizedDimension = grid.axis or 0
    return quantization


def _operator_code(code: str, version: int) -> Any:  # noqa: ANN401 - a generated class
    entry = schema.OperatorCodeT()
    entry.builtinCode = getattr(schema.BuiltinOperator, code)
    # Old runtimes read the one-byte field, new ones the larger of both.
    entry.deprecatedBuiltinCode = min(entry.builtinCode, _LAST_OLD_CODE)
    entry.version = version
    return entry


def _signature(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:  # noqa: ANN401 - a generated class
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [_tensor_map(name, index) for name, index in inputs.items()]
    signature.outputs = [_tensor_map(name, index) for name, index in outputs.items()]
    return signature


def _tensor_map(name: str, index: int) -> Any:  # noqa: ANN401 - a generated class
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
