"""Outputs of classical models as their exporters write them: a label, and a map of scores.

A device decodes one tensor of scores: it names the label by itself, and no runtime for
devices knows maps. Taking outputs away changes no number in those that stay.
"""

from typing import Final

import onnx

from converters.onnx_format import decode, encode

_CLASSICAL: Final = "ai.onnx.ml"
_ZIP_MAP: Final = "ZipMap"
_SCORES: Final = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE})
_LABELS: Final = frozenset({onnx.TensorProto.INT64, onnx.TensorProto.STRING})


def scores_alone(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return a classical model with its scores as the one output, and sentences about it.

    Every other model, and one without a tensor of scores, comes back as it is.

    Raises:
        ConversionError: ``data`` is no ONNX model.
    """
    model = decode(data, "model")
    if not any(node.domain == _CLASSICAL for node in model.graph.node):
        return data, ()
    unpacked = _without_maps(model)
    labels = [value for value in model.graph.output if _element(value) in _LABELS]
    scores = [value for value in model.graph.output if _element(value) in _SCORES]
    left_out = [value.name for value in labels] if scores else []
    if not unpacked and not left_out:
        return data, ()
    kept = [value for value in model.graph.output if value.name not in left_out]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    notes = [f"{name!r} is imported as a tensor, not as a map" for name in unpacked]
    notes += [f"the output {name!r} is left out: the scores tell it" for name in left_out]
    return encode(model), tuple(notes)


def _without_maps(model: onnx.ModelProto) -> list[str]:
    """Make the scores under maps outputs of ``model``; return the names of those outputs."""
    outputs = {value.name: value for value in model.graph.output}
    read = {name for node in model.graph.node for name in node.input}
    unpacked: list[str] = []
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        value = outputs.get(node.output[0]) if node.output else None
        known = node.domain == _CLASSICAL and node.op_type == _ZIP_MAP and node.input
        if value is None or not known or value.name in read:
            kept.append(node)
            continue
        unpacked.append(value.name)
        value.CopyFrom(
            onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, [None, None])
        )
        kept.append(onnx.helper.make_node("Identity", [node.input[0]], [value.name], node.name))
    if unpacked:
        del model.graph.node[:]
        model.graph.node.extend(kept)
        _name_core(model)
    return unpacked


def _name_core(model: onnx.ModelProto) -> None:
    """Name an operator set for Identity, where the model had none."""
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("", 13))


def _element(value: onnx.ValueInfoProto) -> int:
    return value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
