"""An ONNX file as plain data for the doctor: also where it cannot be imported."""

from dataclasses import dataclass

import onnx
import onnx.helper

from converters.arrays import Array
from converters.graph import Node
from converters.onnx_format import array_of, decode

_OWN_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output; an open dimension is its name, ``?`` where it has none."""

    name: str
    kind: str
    dims: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """A file's parts.

    Attributes:
        nodes: Names as the file has them; of the attributes only whole numbers.
        constants: Initializers and the values of Constant nodes.
        with_graphs: Operators that hold graphs.
        domains: Operator sets by domain, without ONNX's own.
    """

    title: str
    size_bytes: int
    producer: str
    ir_version: int
    opset: int
    domains: dict[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    with_graphs: tuple[str, ...]


def parse_onnx(data: bytes, title: str) -> OnnxFile:
    """Return the parts of the model in ``data``; raises ``ConversionError`` where it is none."""
    model = decode(data, title)
    constants = {tensor.name: array_of(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        value = next((a for a in node.attribute if a.name == "value" and a.HasField("t")), None)
        if node.op_type == "Constant" and value is not None and node.output:
            constants[node.output[0]] = array_of(value.t)
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    return OnnxFile(
        title=title,
        size_bytes=len(data),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=int(model.ir_version),
        opset=max((versions[name] for name in _OWN_DOMAINS if name in versions), default=0),
        domains={name: v for name, v in sorted(versions.items()) if name not in _OWN_DOMAINS},
        inputs=tuple(_port(value) for value in model.graph.input if value.name not in constants),
        outputs=tuple(_port(value) for value in model.graph.output),
        nodes=tuple(_node(node) for node in model.graph.node),
        constants=constants,
        with_graphs=tuple(
            node.op_type
            for node in model.graph.node
            if any(a.HasField("g") or a.graphs for a in node.attribute)
        ),
    )


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Port(value.name, str(value.type.WhichOneof("value") or "unknown"), ())
    dims = tuple(
        int(dim.dim_value) if dim.HasField("dim_value") else (dim.dim_param or "?")
        for dim in tensor.shape.dim
    )
    try:
        kind = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        kind = "unknown"
    return Port(value.name, kind, dims)


def _node(node: onnx.NodeProto) -> Node:
    return Node(
        name=node.name,
        op=node.op_type,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={a.name: int(a.i) for a in node.attribute if a.type == onnx.AttributeProto.INT},
        domain="" if node.domain in _OWN_DOMAINS else node.domain,
    )
