"""Import: an ONNX file becomes the normalised graph, step by step."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from converters.arrays import LARGEST_WEIGHT, as_floats
from converters.graph import Graph
from converters.importing.canonical import canonicalise
from converters.importing.fold_batchnorm import fold_affine
from converters.importing.fold_constants import fold_constants
from converters.importing.fold_focus import fold_focus
from converters.importing.foreign_types import type_foreign
from converters.importing.half_precision import widen_halves
from converters.importing.ml_to_core import write_in_core
from converters.importing.simplify import drop_no_ops
from converters.onnx_format import elements, infer_types
from converters.onnx_lifting import lift_and_bind
from edgeops.errors import ConversionError

ALREADY_QUANTIZED: Final = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
        "DynamicQuantizeLinear",
    }
)

_ARITHMETIC: Final = frozenset({"Conv", "Gemm", "MatMul", "BatchNormalization", "Add", "Mul"})

_REARRANGING: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def import_model(
    data: bytes, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None
) -> Graph:
    """Return the model as a normalised graph.

    Args:
        data: A float ONNX file, as ``onnx_format.read_model`` returns it.
        batch: What a symbolic first dimension becomes.
        shapes: Full input shapes by name, where more than the batch is symbolic.

    Raises:
        ConversionError: The model is invalid, already quantized, or has open dimensions.
        UnsupportedModelError: It holds something that no later stage can handle.
    """
    graph = lift_and_bind(data, batch=batch, shapes=shapes)
    for node in graph.nodes:
        if node.op in ALREADY_QUANTIZED:
            raise ConversionError(
                f"the model is quantized already (node {node.name!r}, {node.op}): "
                "convert the float model it was made from"
            )
    graph = type_foreign(infer_types(widen_halves(graph)))
    graph = infer_types(write_in_core(fold_constants(drop_no_ops(graph))))
    _require_fitting_shapes(graph)
    _require_sound_weights(graph)
    graph = fold_affine(drop_no_ops(graph))
    graph = canonicalise(fold_focus(graph))
    # A dense layer written as MatMul and Add is a Gemm now, whose Add can fold.
    return infer_types(fold_affine(graph))


def _require_fitting_shapes(graph: Graph) -> None:
    """Refuse shapes that contradict each other, but that shape inference lets through."""
    for node in graph.nodes:
        known = [graph.shape(name) for name in node.inputs[:2] if graph.has_type(name)]
        if node.domain or not known:
            continue
        if node.op in ("Conv", "ConvTranspose") and len({len(shape) for shape in known}) > 1:
            raise ConversionError(
                f"node {node.name!r} ({node.op}) has an input {list(known[0])} and a filter "
                f"{list(known[1])}: the model is damaged"
            )
        if node.op not in _REARRANGING or not graph.has_type(node.outputs[0]):
            continue
        made = graph.shape(node.outputs[0])
        if elements(known[0]) != elements(made):
            raise ConversionError(
                f"node {node.name!r} ({node.op}) makes {list(made)} of {list(known[0])}: "
                "the model is damaged"
            )


def _require_sound_weights(graph: Graph) -> None:
    """Refuse weights that are no numbers, or so large that float32 arithmetic overflows."""
    for node in graph.nodes:
        if node.op not in _ARITHMETIC or node.domain:
            continue
        for name in node.inputs:
            values = graph.constants.get(name)
            if values is None or values.dtype.kind != "f":
                continue
            sound = np.isfinite(as_floats(values)).all()
            if not sound or np.abs(as_floats(values)).max(initial=0.0) > LARGEST_WEIGHT:
                raise ConversionError(
                    f"constant {name!r} of node {node.name!r} ({node.op}) holds values that are "
                    "infinite, undefined or too large: the model is damaged or has diverged"
                )
