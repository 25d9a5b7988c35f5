"""Nodes of old operator sets that the version converter of ``onnx`` gets wrong.

What an operator meant is noted before lifting, by the tensor it makes, and set right after.
"""

from dataclasses import dataclass
from typing import Final

import onnx
import onnx.helper
import onnx.numpy_helper

from edgeops.errors import UnsupportedModelError

_RESIZE_CHANGED: Final = 11
"""From here on Resize names its coordinates; before, they were asymmetric."""
_PAD_CHANGED: Final = 11
_SPATIAL_CHANGED: Final = 9
_HARDMAX_CHANGED: Final = 13
_EPSILON: Final = 1e-5


@dataclass(frozen=True, slots=True)
class OldResize:
    """A Resize or Upsample from before operator set 11."""

    mode: str


Remembered = dict[str, OldResize]
"""Tensor name -> what made it."""


def correct_before(model: onnx.ModelProto, opset: int) -> Remembered:
    """Rewrite in ``model`` what cannot be lifted, and return what to set right afterwards.

    Raises:
        UnsupportedModelError: A node has no form in a newer operator set.
    """
    remembered: Remembered = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            nodes.append(node)
            continue
        if node.op_type in ("Resize", "Upsample") and opset < _RESIZE_CHANGED:
            remembered[node.output[0]] = OldResize(_text(node, "mode", "nearest"))
        if node.op_type == "Pad" and opset < _PAD_CHANGED:
            _drop_unused_pad_value(node)
        if node.op_type == "Hardmax" and opset < _HARDMAX_CHANGED:
            raise UnsupportedModelError(
                node=node.name,
                operator="Hardmax",
                reason=f"operator set {opset} flattens its input, which later ones do not",
                suggestion=f"export with operator set {_HARDMAX_CHANGED} or later",
            )
        if _is_per_element_norm(node, opset):
            nodes.extend(_per_element_norm(node))
            continue
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return remembered


def correct_after(model: onnx.ModelProto, remembered: Remembered) -> None:
    """Set right what lifting changed the meaning of.

    Raises:
        UnsupportedModelError: A nearest resize enlarges one axis and shrinks another.
    """
    constants = _constants(model)
    for node in model.graph.node:
        old = remembered.get(node.output[0]) if node.output else None
        if old is None or node.op_type != "Resize":
            continue
        _set(node, "coordinate_transformation_mode", "asymmetric")
        if old.mode == "nearest":
            _set(node, "nearest_mode", _nearest_mode(node, constants))


def _nearest_mode(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> str:
    """Return how a nearest resize before operator set 11 rounds.

    The specification does not say; ONNX Runtime rounds down where it enlarges and up where
    it shrinks (onnxruntime/core/providers/cpu/tensor/upsamplebase.h, "simple").
    """
    scales = constants.get(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004 - X, roi, scales
    factors = onnx.numpy_helper.to_array(scales).ravel().tolist() if scales is not None else []
    shrinks, grows = any(f < 1 for f in factors), any(f > 1 for f in factors)
    if shrinks and grows:
        raise UnsupportedModelError(
            node=node.name,
            operator="Resize",
            reason="it enlarges one axis and shrinks another by a rule of its own",
            suggestion="export with operator set 11 or later",
        )
    return "ceil" if shrinks else "floor"


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if value is not None:
                found[node.output[0]] = value
    return found


def _drop_unused_pad_value(node: onnx.NodeProto) -> None:
    """Remove the value of a Pad that copies: the converter would leave an attribute behind."""
    if _text(node, "mode", "constant") == "constant":
        return
    kept = [attribute for attribute in node.attribute if attribute.name != "value"]
    del node.attribute[:]
    node.attribute.extend(kept)


def _is_per_element_norm(node: onnx.NodeProto, opset: int) -> bool:
    spatial = next((a.i for a in node.attribute if a.name == "spatial"), 1)
    return node.op_type == "BatchNormalization" and opset < _SPATIAL_CHANGED and spatial == 0


def _per_element_norm(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return ``(x - mean) / sqrt(variance + epsilon) * scale + bias`` spelled out."""
    x, scale, bias, mean, variance = node.input
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), _EPSILON)
    made = f"{node.output[0]}_norm_"
    value = onnx.helper.make_tensor(f"{made}epsilon", onnx.TensorProto.FLOAT, [1], [epsilon])
    steps = [
        ("Constant", [], "epsilon"),
        ("Add", [variance, f"{made}epsilon"], "variance"),
        ("Sqrt", [f"{made}variance"], "deviation"),
        ("Sub", [x, mean], "centred"),
        ("Div", [f"{made}centred", f"{made}deviation"], "normal"),
        ("Mul", [f"{made}normal", scale], "scaled"),
    ]
    nodes = [
        onnx.helper.make_node(
            op, inputs, [made + name], name=made + name, **({} if inputs else {"value": value})
        )
        for op, inputs, name in steps
    ]
    last = onnx.helper.make_node("Add", [f"{made}scaled", bias], [node.output[0]], name=node.name)
    return [*nodes, last]


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    found = next((a.s for a in node.attribute if a.name == name), None)
    return default if found is None else found.decode(errors="replace")


def _set(node: onnx.NodeProto, name: str, value: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])
