"""An exporter's ONNX file, tidied: the outputs wanted, no traces of the machine.

Exporters write source lines and folders into their files; two machines would give two
digests of one model.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import onnx

from converters.arrays import Array
from edgeops.errors import ConversionError

CORE_OPSET: Final = 17


def tidy(model: onnx.ModelProto, outputs: Sequence[str] | None = None) -> bytes:
    """Return ``model`` as bytes with only ``outputs`` (all, if ``None``), in that order.

    Raises:
        ConversionError: It has no such output.
    """
    graph = model.graph
    if outputs is not None:
        known = {value.name: value for value in graph.output}
        missing = [name for name in outputs if name not in known]
        if missing:
            raise ConversionError(f"the exported model has no output {missing[0]!r}")
        kept = [known[name] for name in outputs]
        del graph.output[:]
        graph.output.extend(kept)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    versions.setdefault("", CORE_OPSET)  # a file of trees alone may name none
    del model.opset_import[:]
    model.opset_import.extend(
        onnx.helper.make_opsetid(domain, version) for domain, version in sorted(versions.items())
    )
    model.doc_string = graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
    return bytes(model.SerializeToString(deterministic=True))


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename tensors of ``model`` in place.

    Raises:
        ConversionError: A new name is taken already.
    """
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {value.name for value in (*graph.input, *graph.output)} - set(names)
    for old, new in names.items():
        if old != new and new in taken:
            raise ConversionError(f"the exported model uses the name {new!r} for another tensor")
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for index, name in enumerate(node.output):
            node.output[index] = names.get(name, name)


def append_nodes(
    model: onnx.ModelProto,
    nodes: Sequence[tuple[str, Sequence[str], str]],
    constants: Mapping[str, Array] | None = None,
) -> None:
    """Append nodes to ``model`` in place; the last one's result, float32 rows, is an output.

    Args:
        model: What to extend.
        nodes: Operator, inputs and output of each; a ``Concat`` joins columns.
        constants: What the nodes need besides.
    """
    for operator, inputs, output in nodes:
        attributes = {"axis": 1} if operator == "Concat" else {}
        model.graph.node.append(
            onnx.helper.make_node(operator, list(inputs), [output], name=output, **attributes)
        )
    for name, value in (constants or {}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(nodes[-1][2], onnx.TensorProto.FLOAT, [1, None])
    )
