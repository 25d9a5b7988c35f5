"""The fields of operators' options: slot, kind and default as in TFLite's schema.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs; a test holds every entry against
the schema module of ai-edge-litert.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from converters.importing.tflite.flat import Scalar, Table


@dataclass(frozen=True, slots=True)
class Field:
    """One number of an options table."""

    slot: int
    kind: Scalar
    default: int | float | bool = 0


@dataclass(frozen=True, slots=True)
class OptionsTable:
    """An options table: its name in the schema and the fields that importing needs."""

    name: str
    fields: Mapping[str, Field]


def _table(name: str, **fields: Field) -> OptionsTable:
    return OptionsTable(name, fields)


_ACTIVATION: Final = "fused_activation_function"


def _fused(name: str) -> OptionsTable:
    return _table(name, **{_ACTIVATION: Field(0, "int8")})


_POOL: Final = _table(
    "Pool2DOptions",
    padding=Field(0, "int8"),
    stride_w=Field(1, "int32"),
    stride_h=Field(2, "int32"),
    filter_width=Field(3, "int32"),
    filter_height=Field(4, "int32"),
    fused_activation_function=Field(5, "int8"),
)
_REDUCER: Final = _table("ReducerOptions", keep_dims=Field(0, "bool", default=False))

OPTIONS: Final[Mapping[str, OptionsTable]] = {
    "ADD": _fused("AddOptions"),
    "SUB": _fused("SubOptions"),
    "MUL": _fused("MulOptions"),
    "DIV": _fused("DivOptions"),
    "L2_NORMALIZATION": _fused("L2NormOptions"),
    "CONV_2D": _table(
        "Conv2DOptions",
        padding=Field(0, "int8"),
        stride_w=Field(1, "int32"),
        stride_h=Field(2, "int32"),
        fused_activation_function=Field(3, "int8"),
        dilation_w_factor=Field(4, "int32", 1),
        dilation_h_factor=Field(5, "int32", 1),
    ),
    "DEPTHWISE_CONV_2D": _table(
        "DepthwiseConv2DOptions",
        padding=Field(0, "int8"),
        stride_w=Field(1, "int32"),
        stride_h=Field(2, "int32"),
        depth_multiplier=Field(3, "int32"),
        fused_activation_function=Field(4, "int8"),
        dilation_w_factor=Field(5, "int32", 1),
        dilation_h_factor=Field(6, "int32", 1),
    ),
    "TRANSPOSE_CONV": _table(
        "TransposeConvOptions",
        padding=Field(0, "int8"),
        stride_w=Field(1, "int32"),
        stride_h=Field(2, "int32"),
        fused_activation_function=Field(3, "int8"),
    ),
    "FULLY_CONNECTED": _table(
        "FullyConnectedOptions",
        fused_activation_function=Field(0, "int8"),
        weights_format=Field(1, "int8"),
        keep_num_dims=Field(2, "bool", default=False),
    ),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "SOFTMAX": _table("SoftmaxOptions", beta=Field(0, "float32", 0.0)),
    "CONCATENATION": _table(
        "ConcatenationOptions", axis=Field(0, "int32"), fused_activation_function=Field(1, "int8")
    ),
    "MEAN": _REDUCER,
    "SUM": _REDUCER,
    "REDUCE_MAX": _REDUCER,
    "REDUCE_MIN": _REDUCER,
    "REDUCE_PROD": _REDUCER,
    "LEAKY_RELU": _table("LeakyReluOptions", alpha=Field(0, "float32", 0.0)),
    "GELU": _table("GeluOptions", approximate=Field(0, "bool", default=False)),
    "STRIDED_SLICE": _table(
        "StridedSliceOptions",
        begin_mask=Field(0, "int32"),
        end_mask=Field(1, "int32"),
        ellipsis_mask=Field(2, "int32"),
        new_axis_mask=Field(3, "int32"),
        shrink_axis_mask=Field(4, "int32"),
        offset=Field(5, "bool", default=False),
    ),
    "GATHER": _table("GatherOptions", axis=Field(0, "int32"), batch_dims=Field(1, "int32")),
    "PACK": _table("PackOptions", values_count=Field(0, "int32"), axis=Field(1, "int32")),
    "UNPACK": _table("UnpackOptions", num=Field(0, "int32"), axis=Field(1, "int32")),
    "RESIZE_BILINEAR": _table(
        "ResizeBilinearOptions",
        align_corners=Field(2, "bool", default=False),
        half_pixel_centers=Field(3, "bool", default=False),
    ),
    "RESIZE_NEAREST_NEIGHBOR": _table(
        "ResizeNearestNeighborOptions",
        align_corners=Field(0, "bool", default=False),
        half_pixel_centers=Field(1, "bool", default=False),
    ),
    "MIRROR_PAD": _table("MirrorPadOptions", mode=Field(0, "int8")),
    "SPACE_TO_DEPTH": _table("SpaceToDepthOptions", block_size=Field(0, "int32")),
    "DEPTH_TO_SPACE": _table("DepthToSpaceOptions", block_size=Field(0, "int32")),
    "BATCH_MATMUL": _table(
        "BatchMatMulOptions",
        adj_x=Field(0, "bool", default=False),
        adj_y=Field(1, "bool", default=False),
    ),
    "CUMSUM": _table(
        "CumsumOptions",
        exclusive=Field(0, "bool", default=False),
        reverse=Field(1, "bool", default=False),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _table(
        "UnidirectionalSequenceLSTMOptions",
        fused_activation_function=Field(0, "int8"),
        cell_clip=Field(1, "float32", 0.0),
        proj_clip=Field(2, "float32", 0.0),
        time_major=Field(3, "bool", default=False),
    ),
}
"""By operator; operators without an entry have no options that change what they compute."""


def read_options(code: str, table: Table | None) -> dict[str, int | float | bool]:
    """Return the options of operator ``code``; a missing table means the defaults."""
    known = OPTIONS.get(code)
    if known is None:
        return {}
    return {
        name: field.default
        if table is None
        else table.number(field.slot, field.kind, field.default)
        for name, field in known.fields.items()
    }
