"""Which handler imports which TFLite operator, and the import of a whole file."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from converters.graph import Graph
from converters.importing.tflite import (
    ops_layers,
    ops_math,
    ops_recurrent,
    ops_reduce,
    ops_shape,
)
from converters.importing.tflite.build import Builder
from converters.importing.tflite.dilation import join_dilated
from converters.importing.tflite.file import FileGraph, FileOperator, TfliteFile
from converters.importing.tflite.weights import kind_of
from converters.onnx_format import infer_types
from edgeops.errors import ConversionError, UnsupportedModelError

Handler: TypeAlias = Callable[[Builder, FileOperator], None]
"""Writes one TFLite operator as ONNX nodes, or refuses it."""

HANDLERS: Final[Mapping[str, Handler]] = {
    **dict.fromkeys(ops_math.UNARY, ops_math.unary),
    **dict.fromkeys(ops_math.BINARY, ops_math.binary),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"), ops_math.activation),
    **dict.fromkeys(ops_reduce.REDUCTIONS, ops_reduce.reduce),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), ops_reduce.pool),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), ops_reduce.softmax),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), ops_reduce.arg_extreme),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), ops_reduce.resize),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), ops_shape.reshape),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), ops_shape.pad),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), ops_shape.split),
    **dict.fromkeys(("SPACE_TO_DEPTH", "DEPTH_TO_SPACE"), ops_shape.blocks),
    **dict.fromkeys(("SELECT", "SELECT_V2"), ops_math.select),
    "BATCH_MATMUL": ops_layers.batch_matmul,
    "BROADCAST_TO": ops_shape.broadcast_to,
    "CAST": ops_math.cast,
    "CONCATENATION": ops_shape.concatenation,
    "CONV_2D": ops_layers.convolution,
    "CUMSUM": ops_reduce.cumulative_sum,
    "DEPTHWISE_CONV_2D": ops_layers.depthwise,
    "DEQUANTIZE": ops_math.dequantize,
    "FULLY_CONNECTED": ops_layers.fully_connected,
    "GATHER": ops_shape.gather,
    "GATHER_ND": ops_shape.gather_nd,
    "GELU": ops_math.gelu,
    "L2_NORMALIZATION": ops_reduce.l2_normalization,
    "LEAKY_RELU": ops_math.leaky_relu,
    "NOT_EQUAL": ops_math.not_equal,
    "PACK": ops_shape.pack,
    "PRELU": ops_math.prelu,
    "REVERSE_V2": ops_shape.reverse,
    "RSQRT": ops_math.reciprocal_root,
    "SHAPE": ops_shape.shape_of,
    "SLICE": ops_shape.slice_,
    "SQUARE": ops_math.square,
    "SQUARED_DIFFERENCE": ops_math.squared_difference,
    "STRIDED_SLICE": ops_shape.strided_slice,
    "TILE": ops_shape.tile,
    "TOPK_V2": ops_reduce.top_k,
    "TRANSPOSE": ops_shape.transpose,
    "TRANSPOSE_CONV": ops_layers.transposed_convolution,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ops_recurrent.lstm,
    "UNPACK": ops_shape.unpack,
}


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported file: the graph, and sentences about what importing changed."""

    graph: Graph
    notes: tuple[str, ...]


def import_tflite(file: TfliteFile) -> Imported:
    """Return the float graph of ``file``; weights stored in integers become float32.

    Raises:
        ConversionError: It is quantized already, or has several graphs.
        UnsupportedModelError: An operator is not known, or used in a way that is not.
    """
    if len(file.graphs) > 1:
        raise ConversionError(
            f"{file.title}: it holds {len(file.graphs)} graphs (control flow); one is supported"
        )
    graph = join_dilated(file.graphs[0])
    if kind_of(graph) == "quantized":
        raise ConversionError(
            f"{file.title} is quantized already (its activations are integers): convert the "
            "float model it was made from, or deploy this file as it is"
        )
    _refuse_unknown(graph)
    build = Builder(graph)
    for operator in graph.operators:
        HANDLERS[operator.code](build, operator)
    return Imported(infer_types(build.finish()), tuple(build.notes))


def _refuse_unknown(graph: FileGraph) -> None:
    unknown = [operator for operator in graph.operators if operator.code not in HANDLERS]
    if not unknown:
        return
    counts = Counter(operator.code for operator in unknown)
    listed = ", ".join(f"{code} ({count})" for code, count in sorted(counts.items()))
    first = unknown[0]
    raise UnsupportedModelError(
        node=f"{first.code.lower()}_{first.index}",
        operator=first.code,
        reason=f"importing it from TFLite is not supported; unsupported in all: {listed}",
        suggestion="convert the model from the framework that made it",
    )
