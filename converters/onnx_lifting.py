"""Bring an ONNX file of any age to the hub's operator set, with named nodes and fixed inputs.

The version converter of ``onnx`` does most of it; where it changes what a model computes
(resizing, padding modes, Hardmax) or gives up (per-element BatchNormalization), the nodes
are rewritten here. Found by running old models before and after: see the tests.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import onnx
import onnx.checker
import onnx.defs
import onnx.helper
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter

from converters.graph import Graph
from converters.onnx_corrections import correct_after, correct_before
from converters.onnx_format import (
    IR_VERSION,
    TARGET_OPSET,
    decode,
    encode,
    first_line,
    infer_types,
    to_graph,
)
from edgeops.errors import ConversionError, UnsupportedModelError

OLDEST_OPSET: Final = 13
"""Per-channel quantization does not exist below it."""
NEWEST_OPSET: Final = 26
"""The last one that the hub's runtime knows; a model of a later one is relabelled if its
operators take the same inputs and attributes there."""

NEWEST_IR_VERSION: Final = 10
"""Container version that every ONNX Runtime since 1.18 reads."""

_CONVERTER_ERRORS: Final = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    onnx.version_converter.ConvertError,
)

_CORE: Final = frozenset({"", "ai.onnx"})
"""The two names of the domain that the operator set's number is for."""

_SUBGRAPH_KINDS: Final = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def lift_and_bind(
    data: bytes, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None
) -> Graph:
    """Return the model as a typed graph of operator set 17 with static inputs.

    Args:
        data: A float ONNX model, external data already folded in.
        batch: What a symbolic first dimension of an input becomes.
        shapes: Full shapes of inputs by name, where more than the batch is symbolic.

    Raises:
        ConversionError: The model is invalid, too old to lift, or leaves a dimension open.
        UnsupportedModelError: It holds control flow or types that we do not handle.
    """
    try:
        return _lift_and_bind(decode(data, "model"), batch, shapes or {})
    except UnicodeDecodeError as error:
        raise ConversionError("the model is damaged: a name in it is no text") from error


def _lift_and_bind(
    model: onnx.ModelProto, batch: int, shapes: Mapping[str, Sequence[int]]
) -> Graph:
    model = _inline_functions(model)
    _complete_outputs(model)
    check(model)
    _require_own_names(model)
    _refuse_subgraphs(model)
    _name_nodes(model)
    model = _lift(model)
    _name_nodes(model)
    _bind_inputs(model, batch, shapes)
    return infer_types(to_graph(model))


def _refuse_subgraphs(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if any(attribute.type in _SUBGRAPH_KINDS for attribute in node.attribute):
            raise UnsupportedModelError(
                node=node.name or "?",
                operator=node.op_type,
                reason="control flow (a graph inside a node) is not supported",
                suggestion="export the branch that inference takes",
            )


def _require_own_names(model: onnx.ModelProto) -> None:
    """Refuse outputs that are listed twice: whoever asks for them by name gets one."""
    counts = Counter(value.name for value in model.graph.output)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ConversionError(f"the model lists its output {twice[0]!r} more than once")


def check(model: onnx.ModelProto) -> None:
    """Refuse what ONNX's own checker refuses; raises ``ConversionError``."""
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise ConversionError("the model is damaged: a name in it is no text") from error
        raise ConversionError(f"the model is not valid ONNX: {first_line(error)}") from error


def modernised(data: bytes) -> bytes:
    """Return the file with named nodes and an operator set that today's tools know.

    Inputs, outputs and weights stay as they are; a model between the oldest and the newest
    known operator set keeps its own.

    Raises:
        ConversionError: The model is invalid or cannot be lifted.
    """
    model = decode(data, "model")
    _complete_outputs(model)
    check(model)
    _name_nodes(model)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset and not OLDEST_OPSET <= opset <= TARGET_OPSET:
        _refuse_subgraphs(model)
        model = _lift(model)
        _name_nodes(model)
    model.ir_version = min(max(model.ir_version, IR_VERSION), NEWEST_IR_VERSION)
    return encode(model)


def _inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its own functions written out where they are called."""
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, *_CONVERTER_ERRORS) as error:
        raise ConversionError(
            f"the model's function {model.functions[0].name!r} cannot be inlined: "
            f"{first_line(error)}"
        ) from error


def _complete_outputs(model: onnx.ModelProto) -> None:
    """Give outputs the types that some exporters leave out, which ONNX Runtime accepts."""
    missing = {
        value.name: value
        for value in model.graph.output
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape")
    }
    if not missing:
        return
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return  # the checker, which comes next, says what is wrong
    for value in inferred.graph.output:
        if value.name in missing and value.type.WhichOneof("value") is not None:
            missing[value.name].CopyFrom(value)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a unique name: tools that exclude by name need one."""
    taken = {node.name for node in model.graph.node if node.name}
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            wish = f"{node.op_type.lower()}_{number}"
            while wish in taken:
                wish += "_"
            node.name = wish
            taken.add(wish)
        seen.add(node.name)


def _lift(model: onnx.ModelProto) -> onnx.ModelProto:
    if not any(node.domain in _CORE for node in model.graph.node):
        _stamp(model, TARGET_OPSET)  # any number will do: nothing in it goes by it
        return model
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset == 0:
        raise ConversionError("the model names no version of the ONNX operator set")
    if opset == TARGET_OPSET:
        return model
    remembered = correct_before(model, opset)
    try:
        lifted = onnx.version_converter.convert_version(model, TARGET_OPSET)
        correct_after(lifted, remembered)
        lifted.ir_version = max(lifted.ir_version, IR_VERSION)  # the oldest lists constants twice
        # Downwards the library may leave attributes that the older operator does not have.
        onnx.checker.check_model(lifted)
    except (RuntimeError, ValueError, *_CONVERTER_ERRORS) as error:
        if OLDEST_OPSET <= opset <= NEWEST_OPSET or _relabel(model, opset):
            return model
        raise ConversionError(
            f"operator set {opset} cannot be lifted to {TARGET_OPSET}: {first_line(error)}; "
            f"export with operator set {OLDEST_OPSET} to {NEWEST_OPSET}"
        ) from error
    return lifted


def _stamp(model: onnx.ModelProto, opset: int) -> None:
    """Name ``opset``, once; exporters of trees name none, or the same one twice."""
    others = [entry for entry in model.opset_import if entry.domain not in _CORE]
    entries = [onnx.helper.make_opsetid("", opset), *others]
    del model.opset_import[:]
    model.opset_import.extend(entries)


def _relabel(model: onnx.ModelProto, opset: int) -> bool:
    """Give a model of a newer operator set the newest number we know, if that is the same."""
    same = all(
        node.domain in ("", "ai.onnx")
        and _signature(node.op_type, opset) == _signature(node.op_type, NEWEST_OPSET)
        for node in model.graph.node
    )
    if opset <= NEWEST_OPSET or not same:
        return False
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = NEWEST_OPSET
    return True


def _signature(op: str, opset: int) -> tuple[object, ...] | None:
    """Return what an operator takes in an operator set, whatever the element types."""
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None
    return (
        tuple((entry.name, str(entry.option)) for entry in schema.inputs),
        tuple((entry.name, str(entry.option)) for entry in schema.outputs),
        tuple(
            (name, str(entry.type), entry.default_value.SerializeToString())
            for name, entry in sorted(schema.attributes.items())
        ),
    )


def _bind_inputs(model: onnx.ModelProto, batch: int, shapes: Mapping[str, Sequence[int]]) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    names = {value.name for value in model.graph.input if value.name not in constants}
    if unknown := sorted(set(shapes) - names):
        raise ConversionError(f"no input is called {unknown[0]!r}; there are {sorted(names)}")
    for value in model.graph.input:
        if value.name not in constants:
            _bind_input(value, batch, shapes.get(value.name))
    # Stale shapes (a symbolic batch, say) would contradict what inference finds.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _bind_input(value: onnx.ValueInfoProto, batch: int, shape: Sequence[int] | None) -> None:
    if not value.type.HasField("tensor_type"):
        raise ConversionError(f"input {value.name!r} is no tensor")
    if not value.type.tensor_type.HasField("shape") and shape is None:
        raise ConversionError(f"input {value.name!r} has no shape: give one")
    dims = value.type.tensor_type.shape.dim
    stated = [int(dim.dim_value) for dim in dims]
    if shape is not None:
        wanted = list(shape)
        stated = stated or [0] * len(wanted)
        fits = len(stated) == len(wanted) and all(
            have in (0, want) for have, want in zip(stated, wanted, strict=True)
        )
        if not fits or min(wanted, default=1) < 1:
            shown = ", ".join(str(size) if size else "open" for size in stated)
            raise ConversionError(f"input {value.name!r} is [{shown}], the shape given {wanted}")
        del dims[:]
        for size in wanted:
            dims.add().dim_value = size
        return
    for axis, dim in enumerate(dims):
        if axis == 0 and dim.dim_value <= 0:
            dim.dim_value = batch
        elif dim.dim_value <= 0:
            raise ConversionError(
                f"dimension {axis} ({dim.dim_param or 'unnamed'}) of input {value.name!r} "
                "is open: give the input's shape (--shape, or shapes in a recipe)"
            )
