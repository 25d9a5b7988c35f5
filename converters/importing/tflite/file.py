"""A TFLite file as plain data: everything in range, nothing trusted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from converters.arrays import Array, as_ints
from converters.importing.tflite.flat import FlatFile, Table
from converters.importing.tflite.options import OPTIONS, read_options
from converters.tflite.schema_names import OPERATORS, OPTIONS_TABLES, TENSOR_TYPES
from edgeops.errors import ConversionError, UnsupportedModelError

MODEL_VERSION: Final = 3
IDENTIFIER: Final = b"TFL3"
MAX_RANK: Final = 8
MAX_ELEMENTS: Final = 2**31 - 1
LEFT_OUT: Final = -1


_DTYPES: Final[Mapping[str, np.dtype[np.generic]]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "float64": np.dtype(np.float64),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "int16": np.dtype(np.int16),
    "uint16": np.dtype(np.uint16),
    "int32": np.dtype(np.int32),
    "uint32": np.dtype(np.uint32),
    "int64": np.dtype(np.int64),
    "uint64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
}

_WITH_VECTOR: Final = frozenset({"ReshapeOptions", "SqueezeOptions"})
"""Options tables whose first field is a vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How whole numbers stand for real ones: ``scale * (q - zero_point)``.

    Attributes:
        zero_point_at: Where the zero points lie in the file; tensors may share them.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int
    zero_point_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensor:
    """One tensor.

    Attributes:
        kind: Element type by its name in the schema, in small letters.
        shape: As stored; the runtime computes it anew where ``open_axes`` names any.
        open_axes: Axes that the model's maker left open.
        data: Its bytes if it is a constant.
        quantization: Present if it has scales.
        is_variable: Whether it keeps its value from one inference to the next.
        is_sparse: Whether its bytes leave zeros out.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    open_axes: tuple[int, ...]
    data: memoryview | None
    quantization: Quantization | None
    is_variable: bool
    is_sparse: bool

    @property
    def dtype(self) -> np.dtype[np.generic] | None:
        """Return NumPy's type, or ``None`` for texts, complex numbers and 4-bit integers."""
        return _DTYPES.get(self.kind)

    def value(self) -> Array | None:
        """Return the constant as it is stored, or ``None`` where there is none."""
        if self.data is None:
            return None
        if self.kind == "int4":
            return _unpack_nibbles(self.data, self.shape)
        dtype = self.dtype
        return None if dtype is None else np.frombuffer(self.data, dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOperator:
    """One operator: its name, kernel version, tensors by index, and options by field."""

    index: int
    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float | bool]

    def refuse(self, reason: str, suggestion: str = "") -> UnsupportedModelError:
        """Return the error that says why this operator cannot be imported."""
        return UnsupportedModelError(
            node=f"{self.code.lower()}_{self.index}",
            operator=self.code,
            reason=reason,
            suggestion=suggestion,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGraph:
    """One subgraph; operators stand in the order in which they run."""

    name: str
    tensors: tuple[FileTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[FileOperator, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteFile:
    """A whole file.

    Attributes:
        signatures: Names under which runtimes find inputs and outputs.
        metadata: Names of attached blocks.
    """

    title: str
    size_bytes: int
    description: str
    graphs: tuple[FileGraph, ...]
    signatures: tuple[str, ...]
    metadata: tuple[str, ...]


def parse_tflite(data: bytes, title: str) -> TfliteFile:
    """Return the model in ``data``.

    Raises:
        ConversionError: It is no TFLite model, damaged, or contradicts itself.
    """
    file = FlatFile(data, title)
    model = file.root(IDENTIFIER)
    if (version := model.whole(0, "uint32")) != MODEL_VERSION:
        raise ConversionError(f"{title}: TFLite schema version {version}, only 3 is known")
    codes = [_operator_code(table) for table in model.tables(1)]
    buffers = [_buffer(file, table) for table in model.tables(4)]
    graphs = tuple(_graph(file, table, codes, buffers) for table in model.tables(2))
    if not graphs:
        raise file.damaged("it holds no graph")
    return TfliteFile(
        title=title,
        size_bytes=len(data),
        description=model.text(3),
        graphs=graphs,
        signatures=tuple(table.text(2) for table in model.tables(7)),
        metadata=tuple(table.text(0) for table in model.tables(6)),
    )


def _operator_code(table: Table) -> tuple[str, int]:
    number = max(table.whole(0, "int8"), table.whole(3, "int32"))
    name = OPERATORS.get(number, f"BUILTIN_{number}")
    if name == "CUSTOM":
        name = f"CUSTOM:{table.text(1)[:100]}"
    return name, table.whole(2, "int32", 1)


def _buffer(file: FlatFile, table: Table) -> memoryview | None:
    offset, size = table.whole(1, "uint64"), table.whole(2, "uint64")
    if offset > 1:  # data behind the FlatBuffer, for models of more than 2 GiB
        if offset + size > len(file.data):
            raise file.damaged("a buffer lies outside")
        return memoryview(file.data)[offset : offset + size]
    block = table.block(0)
    file.spend(len(block) if block is not None else 0)
    return block if block is not None and len(block) else None


def _graph(
    file: FlatFile, table: Table, codes: list[tuple[str, int]], buffers: list[memoryview | None]
) -> FileGraph:
    tensors = tuple(
        _tensor(file, entry, index, buffers) for index, entry in enumerate(table.tables(0))
    )
    operators = tuple(
        _operator(file, entry, index, codes, len(tensors))
        for index, entry in enumerate(table.tables(3))
    )
    graph = FileGraph(
        name=table.text(4),
        tensors=tensors,
        inputs=_indices(file, table, 1, len(tensors)),
        outputs=_indices(file, table, 2, len(tensors)),
        operators=operators,
    )
    _check_order(file, graph)
    return graph


def _tensor(
    file: FlatFile, table: Table, index: int, buffers: list[memoryview | None]
) -> FileTensor:
    name = table.text(3) or f"tensor_{index}"
    shape = _shape(file, table, 0, name)
    open_axes = tuple(axis for axis, size in enumerate(_signature(table)) if size < 0)
    kind = TENSOR_TYPES.get(table.whole(1, "int8"), "unknown")
    place = table.whole(2, "uint32")
    if place >= max(len(buffers), 1):
        raise file.damaged(f"tensor {name!r} points to a buffer that does not exist")
    data = buffers[place] if buffers else None
    tensor = FileTensor(
        name=name,
        kind=kind,
        shape=shape,
        open_axes=open_axes,
        data=data,
        quantization=_quantization(file, table.table(4), name),
        is_variable=bool(table.number(5, "bool", default=False)),
        is_sparse=table.table(6) is not None,
    )
    _check_size(file, tensor)
    return tensor


def _shape(file: FlatFile, table: Table, slot: int, name: str) -> tuple[int, ...]:
    sizes = table.numbers(slot, np.int32)
    shape = () if sizes is None else as_ints(sizes)
    if len(shape) > MAX_RANK or min(shape, default=1) < 0 or math.prod(shape) > MAX_ELEMENTS:
        raise file.damaged(f"tensor {name!r} has the shape {list(shape[:MAX_RANK])}")
    return shape


def _signature(table: Table) -> tuple[int, ...]:
    sizes = table.numbers(7, np.int32)
    return () if sizes is None else as_ints(sizes)


def _check_size(file: FlatFile, tensor: FileTensor) -> None:
    if tensor.data is None or tensor.is_sparse:
        return
    count = math.prod(tensor.shape)
    if tensor.kind == "int4":
        wanted = (count + 1) // 2
    elif tensor.dtype is not None:
        wanted = count * tensor.dtype.itemsize
    else:
        return
    if wanted != len(tensor.data):
        raise file.damaged(
            f"tensor {tensor.name!r} {list(tensor.shape)} has {len(tensor.data)} bytes of data, "
            f"not {wanted}"
        )


def _quantization(file: FlatFile, table: Table | None, name: str) -> Quantization | None:
    if table is None:
        return None
    table.skim(0, 1)
    scale, zero = table.numbers(2, np.float32), table.numbers(3, np.int64)
    if scale is None or scale.size == 0:
        return None
    points = as_ints(zero) if zero is not None and zero.size else (0,) * scale.size
    if len(points) not in (1, scale.size):
        raise file.damaged(f"tensor {name!r} has {scale.size} scales, {len(points)} zero points")
    return Quantization(
        scale=tuple(float(value) for value in scale),
        zero_point=points,
        axis=table.whole(6, "int32"),
        zero_point_at=table.place(3),
    )


def _indices(file: FlatFile, table: Table, slot: int, count: int) -> tuple[int, ...]:
    found = table.numbers(slot, np.int32)
    indices = () if found is None else as_ints(found)
    if any(index < LEFT_OUT or index >= count for index in indices):
        raise file.damaged("it points to a tensor that does not exist")
    return indices


def _operator(
    file: FlatFile, table: Table, index: int, codes: list[tuple[str, int]], tensors: int
) -> FileOperator:
    place = table.whole(0, "uint32")
    if place >= len(codes):
        raise file.damaged(f"operator {index} has no code")
    code, version = codes[place]
    table.skim(5, 7, item_size=1)
    table.skim(8)
    known = OPTIONS.get(code)
    stated = OPTIONS_TABLES.get(table.whole(3, "uint8"), "")
    if stated in _WITH_VECTOR and (other := table.table(4)) is not None:
        other.skim(0)
    # A table of another kind is ignored, as the runtimes do.
    options = table.table(4) if known is not None and known.name == stated else None
    return FileOperator(
        index=index,
        code=code,
        version=version,
        inputs=_indices(file, table, 1, tensors),
        outputs=_indices(file, table, 2, tensors),
        options=read_options(code, options),
    )


def _check_order(file: FlatFile, graph: FileGraph) -> None:
    """Check that every operator reads what is there already, and nothing is made twice."""
    if LEFT_OUT in graph.inputs or LEFT_OUT in graph.outputs or not graph.outputs:
        raise file.damaged("its inputs or outputs are not named")
    known = set(graph.inputs)
    known |= {i for i, t in enumerate(graph.tensors) if t.data is not None or t.is_variable}
    empty = {index for index, tensor in enumerate(graph.tensors) if 0 in tensor.shape}
    for operator in graph.operators:
        for index in operator.inputs:
            if index != LEFT_OUT and index not in known | empty:
                raise file.damaged(
                    f"operator {operator.index} ({operator.code}) reads tensor "
                    f"{graph.tensors[index].name!r} before it is made"
                )
        if LEFT_OUT in operator.outputs or known & set(operator.outputs):
            raise file.damaged(f"operator {operator.index} ({operator.code}) overwrites a tensor")
        known |= set(operator.outputs)
    if not set(graph.outputs) <= known | empty:
        raise file.damaged("an output is never made")


def _unpack_nibbles(data: memoryview, shape: tuple[int, ...]) -> Array:
    """Return 4-bit integers, the low half of each byte first, as int8."""
    packed = np.frombuffer(data, np.int8)
    pairs = np.stack([np.left_shift(packed, 4) >> 4, packed >> 4], axis=-1)
    return pairs.reshape(-1)[: math.prod(shape)].reshape(shape)
