"""ONNX files <-> ``Graph``.

``onnx`` has no usable type information; its protobuf objects stay inside this module and
``onnx_lifting``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnx.checker
import onnx.reference
import onnx.shape_inference
from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # ships no stubs

from converters.arrays import Array
from converters.graph import Attribute, Graph, Node, TensorType
from converters.onnx_guards import keep_pads_apart
from converters.onnx_untrusted import check_external, check_functions, external_tensors
from edgeops.errors import ConversionError, StorageError, UnsupportedModelError

MAX_MODEL_BYTES: Final = 1 << 30
"""Larger files are refused before they are read: no edge device runs them."""

MAX_TENSOR_ELEMENTS: Final = 2**31 - 1
"""TFLite counts in int32; a device could not hold such a tensor anyway."""

MAX_RANK: Final = 32
"""Of a tensor, in axes; NumPy and the runtimes have limits as well, not far above."""

TARGET_OPSET: Final = 17
"""Operator set of the hub, where a model can be brought to it."""

IR_VERSION: Final = 8
"""Container version written; old enough for every ONNX Runtime since 1.10."""


def read_model(path: Path, *, max_bytes: int = MAX_MODEL_BYTES) -> bytes:
    """Return the model file's bytes with any external data folded in.

    Raises:
        StorageError: The file cannot be read.
        ConversionError: It is too large, no ONNX model, or reaches outside its folder.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() and not path.is_dir():
            raise StorageError(f"cannot read {path}: not a file")  # a pipe may never end
        if size > max_bytes:
            raise ConversionError(f"{path}: {size} bytes, more than the limit of {max_bytes}")
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    model = decode(data, str(path))
    external = external_tensors(model)
    if not external:
        return data
    check_external(external, path.parent, max_bytes)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ConversionError(f"{path}: external data cannot be read: {error}") from error
    return encode(model)


def decode(data: bytes, place: str) -> onnx.ModelProto:
    """Return the model in ``data``, called ``place`` in messages; raises ``ConversionError``."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ConversionError(f"{place}: not an ONNX model, or damaged") from error
    if not model.graph.node and not model.graph.output:
        raise ConversionError(f"{place}: not an ONNX model, or empty")
    check_functions(model, place)
    return model


def encode(model: onnx.ModelProto) -> bytes:
    """Serialise with a fixed order, so that the same graph gives the same bytes."""
    return bytes(model.SerializeToString(deterministic=True))


def first_line(error: Exception) -> str:
    """Return the beginning of a library's message, without what follows in other lines."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def to_graph(model: onnx.ModelProto) -> Graph:
    """Return a checked model as a graph; its types are those that the file states.

    Raises:
        ConversionError: A tensor is damaged or of an unknown type.
        UnsupportedModelError: An attribute is of a kind that we do not handle.
    """
    constants = {tensor.name: array_of(tensor) for tensor in model.graph.initializer}
    if model.graph.sparse_initializer:
        raise ConversionError("sparse initializers are not supported: store them dense")
    inputs = tuple(v.name for v in model.graph.input if v.name not in constants)
    nodes = tuple(
        Node(
            name=node.name,
            op=node.op_type,
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={a.name: _attribute(a, node) for a in node.attribute},
            domain="" if node.domain == "ai.onnx" else node.domain,
        )
        for node in model.graph.node
    )
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.pop("", 0) or versions.pop("ai.onnx", 0)
    return Graph(
        name=model.graph.name or "model",
        inputs=inputs,
        outputs=tuple(value.name for value in model.graph.output),
        nodes=nodes,
        constants=constants,
        types=_types([*model.graph.input, *model.graph.output, *model.graph.value_info]),
        opset=opset,
        other_opsets={
            domain: version
            for domain, version in sorted(versions.items())
            if any(node.domain == domain for node in nodes)
        },
    )


def array_of(tensor: onnx.TensorProto) -> Array:
    """Return the values of an ONNX tensor; raises ``ConversionError`` where they are damaged."""
    try:
        value: Array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ConversionError(f"tensor {tensor.name!r} is damaged: {first_line(error)}") from error
    return value


_ATTRIBUTE_READERS: Final[dict[int, Callable[[onnx.AttributeProto], Attribute]]] = {
    onnx.AttributeProto.INT: lambda a: int(a.i),
    onnx.AttributeProto.FLOAT: lambda a: float(a.f),
    onnx.AttributeProto.STRING: lambda a: _text(a.s),
    onnx.AttributeProto.INTS: lambda a: tuple(int(value) for value in a.ints),
    onnx.AttributeProto.FLOATS: lambda a: tuple(float(value) for value in a.floats),
    onnx.AttributeProto.STRINGS: lambda a: tuple(_text(value) for value in a.strings),
    onnx.AttributeProto.TENSOR: lambda a: array_of(a.t),
}


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _attribute(attribute: onnx.AttributeProto, node: onnx.NodeProto) -> Attribute:
    read = _ATTRIBUTE_READERS.get(attribute.type)
    if read is not None:
        return read(attribute)
    raise UnsupportedModelError(
        node=node.name,
        operator=node.op_type,
        reason=f"attribute {attribute.name} is of a kind that is not supported",
    )


def _types(values: Sequence[onnx.ValueInfoProto]) -> dict[str, TensorType]:
    types: dict[str, TensorType] = {}
    for value in values:
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
            continue
        shape = tuple(int(dim.dim_value) for dim in tensor.shape.dim)
        if all(dim.HasField("dim_value") for dim in tensor.shape.dim) and tensor.elem_type:
            types[value.name] = TensorType(_dtype(value.name, tensor.elem_type), shape)
    return types


def _dtype(name: str, element: int) -> np.dtype[np.generic]:
    try:
        found: np.dtype[np.generic] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))
    except KeyError as error:
        raise ConversionError(f"tensor {name!r} has the unknown element type {element}") from error
    return found


def _to_model(graph: Graph) -> onnx.ModelProto:
    nodes = [_node(node) for node in graph.nodes]
    constants = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        for name, value in sorted(graph.constants.items())
    ]
    opsets = [onnx.helper.make_opsetid("", graph.opset)]
    opsets += [onnx.helper.make_opsetid(*entry) for entry in sorted(graph.other_opsets.items())]
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            graph.name,
            [_value_info(graph, name) for name in graph.inputs],
            [_value_info(graph, name) for name in graph.outputs],
            constants,
        ),
        opset_imports=opsets,
        ir_version=IR_VERSION if graph.opset <= TARGET_OPSET else 10,
        producer_name="edgeops",
    )


def _node(node: Node) -> onnx.NodeProto:
    proto = onnx.helper.make_node(
        node.op, list(node.inputs), list(node.outputs), name=node.name, domain=node.domain
    )
    for name, value in sorted(node.attributes.items()):
        # An empty list has no element to tell its kind; all such lists are whole numbers.
        empty = isinstance(value, tuple) and not value
        kind = onnx.AttributeProto.INTS if empty else None
        proto.attribute.append(onnx.helper.make_attribute(name, _value(value), attr_type=kind))
    return proto


def _value(value: Attribute) -> onnx.TensorProto | list[int | float | str] | int | float | str:
    if isinstance(value, np.ndarray):
        return onnx.numpy_helper.from_array(value)
    return list(value) if isinstance(value, tuple) else value


def _value_info(graph: Graph, name: str) -> onnx.ValueInfoProto:
    known = graph.types.get(name)
    if known is None and name in graph.constants:
        known = TensorType(graph.constants[name].dtype, graph.constants[name].shape)
    if known is None:
        return onnx.ValueInfoProto(name=name)
    element = onnx.helper.np_dtype_to_tensor_dtype(known.dtype)
    return onnx.helper.make_tensor_value_info(name, element, list(known.shape))


def serialize(graph: Graph) -> bytes:
    """Return ``graph`` as an ONNX file; the same graph gives the same bytes."""
    return encode(_to_model(keep_pads_apart(graph)))


def infer_types(graph: Graph) -> Graph:
    """Return ``graph`` with the types of all tensors whose shape can be known.

    Raises:
        ConversionError: Shapes or types contradict each other.
    """
    own_domain_only = all(not node.domain for node in graph.nodes)
    # Nobody can infer what operators of other domains make: what is known of them stays.
    foreign = [name for node in graph.nodes if node.domain for name in node.outputs]
    keep = {name: graph.types[name] for name in (*graph.inputs, *foreign) if name in graph.types}
    model = _to_model(replace(graph, types=keep))
    inner = sorted(set(foreign) & set(keep) - set(graph.outputs))
    model.graph.value_info.extend(_value_info(replace(graph, types=keep), name) for name in inner)
    try:
        model = onnx.shape_inference.infer_shapes(
            model, check_type=own_domain_only, strict_mode=own_domain_only, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise ConversionError(f"shapes do not fit together: {first_line(error)}") from error
    found = _types([*model.graph.input, *model.graph.output, *model.graph.value_info])
    for name, known in found.items():
        if len(known.shape) > MAX_RANK:
            raise ConversionError(f"tensor {name!r} has {len(known.shape)} axes: too many to run")
        if elements(known.shape) > MAX_TENSOR_ELEMENTS:
            raise ConversionError(f"tensor {name!r} has the shape {known.shape}: too large to run")
    return replace(graph, types=found)


def evaluate(node: Node, opset: int, inputs: Sequence[Array | None]) -> list[Array]:
    """Return the outputs of one node for constant ``inputs`` (``None`` = left out).

    Raises:
        ConversionError: The node cannot be computed.
    """
    names = [
        name if value is not None else "" for name, value in zip(node.inputs, inputs, strict=True)
    ]
    outputs = tuple(name or f"unused_{number}" for number, name in enumerate(node.outputs))
    proto = _node(replace(node, inputs=tuple(names), outputs=outputs))
    feeds = {name: value for name, value in zip(names, inputs, strict=True) if name}
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape)
            )
            for name, value in feeds.items()
            if value is not None
        ],
        [onnx.ValueInfoProto(name=name) for name in proto.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        results = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise ConversionError(
            f"constant node {node.name!r} ({node.op}) cannot be computed: {first_line(error)}"
        ) from error
    return [np.asarray(value) for value in results]


def elements(shape: Sequence[int]) -> int:
    """Return the number of elements of a tensor of ``shape``."""
    return math.prod(shape)
