"""Import: an ONNX file becomes the normalised graph, step by step."""

from collections.abc import Mapping, Sequence
from typing import Final

from converters.graph import Graph
from converters.importing.canonical import canonicalise
from converters.importing.fold_batchnorm import fold_affine
from converters.importing.fold_constants import fold_constants
from converters.importing.simplify import drop_no_ops
from converters.onnx_format import infer_types, lift_and_bind
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
    graph = fold_constants(drop_no_ops(graph))
    graph = fold_affine(drop_no_ops(graph))
    graph = canonicalise(graph)
    # A dense layer written as MatMul and Add is a Gemm now, whose Add can fold.
    return infer_types(fold_affine(graph))
