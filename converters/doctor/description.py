"""What a model file is: inputs, outputs, operators, size and work."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from converters.doctor.examination import format_of_file
from converters.doctor.onnx_file import OnnxFile, parse_onnx
from converters.importing.importer import ALREADY_QUANTIZED
from converters.importing.tflite.file import FileGraph, FileOperator, TfliteFile, parse_tflite
from converters.importing.tflite.opening import read_bytes
from converters.importing.tflite.weights import kind_of
from converters.onnx_format import elements, read_model
from converters.onnx_lifting import lift_and_bind
from converters.quant.operators import multiply_accumulates
from edgeops.errors import ConversionError

_DENSE_AT = {"FULLY_CONNECTED": 1, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output; an open dimension is its name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model file.

    Attributes:
        version: Operator set of ONNX, schema version of TFLite.
        numbers: ``float``, ``hybrid`` (integer weights), ``quantized`` or ``float16``.
        operators: How often each occurs; a TFLite operator with its kernel version.
        macs: Multiply-accumulates of convolutions and dense layers for one inference;
            ``None`` where shapes are not known.
        parameters: Elements of all constants.
    """

    file: str
    format: str
    version: str
    producer: str
    size_bytes: int
    numbers: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: dict[str, int]
    parameters: int
    macs: int | None


def describe(path: Path) -> Description:
    """Return what the file at ``path`` is.

    Raises:
        UsageError: It is neither ONNX nor TFLite by its name.
        StorageError: It cannot be read.
        ConversionError: It is damaged beyond reading.
    """
    if format_of_file(path) == "tflite":
        return _describe_tflite(parse_tflite(read_bytes(path), path.name))
    data = read_model(path)
    return _describe_onnx(data, parse_onnx(data, path.name))


def _describe_tflite(file: TfliteFile) -> Description:
    graph = file.graphs[0]
    counts = Counter(f"{op.code} v{op.version}" for g in file.graphs for op in g.operators)
    halves = any(t.kind == "float16" for t in graph.tensors)
    kind = kind_of(graph)
    return Description(
        file=file.title,
        format="tflite",
        version="schema 3",
        producer=file.description,
        size_bytes=file.size_bytes,
        numbers="float16" if halves and kind == "float" else kind,
        inputs=tuple(_tflite_port(graph, index) for index in graph.inputs),
        outputs=tuple(_tflite_port(graph, index) for index in graph.outputs),
        operators=dict(sorted(counts.items())),
        parameters=sum(
            elements(t.shape) for g in file.graphs for t in g.tensors if t.data is not None
        ),
        macs=sum(_macs(g, op) for g in file.graphs for op in g.operators),
    )


def _tflite_port(graph: FileGraph, index: int) -> Port:
    tensor = graph.tensors[index]
    shape: list[int | str] = list(tensor.shape)
    for axis in tensor.open_axes:
        if axis < len(shape):
            shape[axis] = "?"
    return Port(name=tensor.name, dtype=tensor.kind, shape=tuple(shape))


def _macs(graph: FileGraph, operator: FileOperator) -> int:
    """Return the multiply-accumulates of one layer from the shapes that the file states."""
    at = _DENSE_AT.get(operator.code)
    if at is None or len(operator.inputs) <= at or not operator.outputs:
        return 0
    weights = graph.tensors[operator.inputs[at]].shape
    made = graph.tensors[operator.outputs[0]].shape
    if operator.code == "FULLY_CONNECTED":
        return elements(made) * (weights[-1] if weights else 0)
    if operator.code == "DEPTHWISE_CONV_2D":
        return elements(made) * elements(weights[1:3])
    if operator.code == "TRANSPOSE_CONV":
        source = graph.tensors[operator.inputs[2]].shape if len(operator.inputs) > at + 1 else ()
        return elements(source) * elements(weights[:3]) if source else 0
    return elements(made) * elements(weights[1:])


def _describe_onnx(data: bytes, file: OnnxFile) -> Description:
    domains = "".join(f", {name} {version}" for name, version in file.domains.items())
    counts = Counter(f"{n.domain}.{n.op}".removeprefix(".") for n in file.nodes)
    quantized = any(node.op in ALREADY_QUANTIZED for node in file.nodes)
    halves = any(value.dtype.name in ("float16", "bfloat16") for value in file.constants.values())
    return Description(
        file=file.title,
        format="onnx",
        version=f"operator set {file.opset}{domains}, container {file.ir_version}",
        producer=file.producer,
        size_bytes=file.size_bytes,
        numbers="quantized" if quantized else "float16" if halves else "float",
        inputs=tuple(Port(name=p.name, dtype=p.kind, shape=p.dims) for p in file.inputs),
        outputs=tuple(Port(name=p.name, dtype=p.kind, shape=p.dims) for p in file.outputs),
        operators=dict(sorted(counts.items())),
        parameters=sum(value.size for value in file.constants.values()),
        macs=_onnx_macs(data),
    )


def _onnx_macs(data: bytes) -> int | None:
    try:
        graph = lift_and_bind(data)
    except ConversionError:
        return None  # control flow, open shapes: what can be told is told without it
    return sum(multiply_accumulates(graph, node) for node in graph.nodes)
