"""Operators along axes: pools, reductions, softmax, arg-max, top-k, resizing."""

from typing import Final

import numpy as np

from converters.arrays import as_ints
from converters.graph import Attribute
from converters.importing.tflite.build import CHANNELS_FIRST, Builder
from converters.importing.tflite.file import FileOperator
from converters.importing.tflite.ops_layers import SAME, require_rank, same_pads, strides_of
from converters.importing.tflite.ops_math import to_kind
from converters.tflite.layout import identity

REDUCTIONS: Final = {
    "MEAN": "ReduceMean",
    "SUM": "ReduceSum",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
}
_IMAGE: Final = 4
_NORM_FLOOR: Final = 1e-6
"""What L2_NORMALIZATION never divides by less than (tensorflow/lite/kernels/l2norm.cc)."""


def pool(build: Builder, operator: FileOperator) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D; padding is never part of an average."""
    source = build.read(operator, 0, None)
    require_rank(operator, source.shape, _IMAGE)
    kernel = int(operator.options["filter_height"]), int(operator.options["filter_width"])
    if min(kernel) < 1:
        raise operator.refuse(f"its window {kernel} is empty")
    strides = strides_of(operator)
    pads = ((0, 0), (0, 0))
    if operator.options["padding"] == SAME:
        pads = (
            same_pads(source.shape[1], kernel[0], strides[0]),
            same_pads(source.shape[2], kernel[1], strides[1]),
        )
    made = build.emit(
        "AveragePool" if operator.code == "AVERAGE_POOL_2D" else "MaxPool",
        [build.read(operator, 0, CHANNELS_FIRST).name],
        {
            "kernel_shape": kernel,
            "strides": strides,
            "pads": (pads[0][0], pads[1][0], pads[0][1], pads[1][1]),
        },
    )
    build.write(operator, made[0], CHANNELS_FIRST)


def axes_of(build: Builder, operator: FileOperator, index: int, rank: int) -> tuple[int, ...]:
    """Return the constant axes at input ``index``, counted from 0, sorted."""
    axes = as_ints(build.constant(operator, index))
    if any(not -rank <= axis < rank for axis in axes):
        raise operator.refuse(f"axes {list(axes)} do not exist in {rank} axes")
    return tuple(sorted({axis % rank for axis in axes}))


def reduce(build: Builder, operator: FileOperator) -> None:
    """MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD."""
    source = build.read(operator)
    axes = axes_of(build, operator, 1, len(source.shape))
    keep = bool(operator.options["keep_dims"])
    stored = tuple(sorted(source.stored_axis(axis) for axis in axes))
    op = REDUCTIONS[operator.code]
    attributes: dict[str, Attribute] = {"keepdims": int(keep)}
    inputs = [source.name]
    if op == "ReduceSum":
        inputs.append(build.ints("axes", stored))
    elif stored:
        attributes["axes"] = stored
    made = build.emit(op, inputs, attributes)[0] if stored else source.name
    perm = source.perm
    if not keep:
        left = [axis for axis in source.perm if axis not in axes]
        perm = tuple(sorted(left).index(axis) for axis in left)
    build.write(operator, made, perm)


def softmax(build: Builder, operator: FileOperator) -> None:
    """SOFTMAX over the last axis, of ``beta`` times the input; LOG_SOFTMAX."""
    source = build.read(operator)
    if not source.shape:
        raise operator.refuse("its input has no axis")
    name = source.name
    beta = float(operator.options.get("beta", 1.0))
    if beta != 1.0:
        factor = build.add_constant("beta", np.asarray(beta, np.float32))
        name = build.emit("Mul", [name, factor])[0]
    op = "Softmax" if operator.code == "SOFTMAX" else "LogSoftmax"
    made = build.emit(op, [name], {"axis": source.stored_axis(-1)})[0]
    build.write(operator, made, source.perm)


def l2_normalization(build: Builder, operator: FileOperator) -> None:
    """L2_NORMALIZATION over the last axis."""
    source = build.read(operator)
    if not source.shape:
        raise operator.refuse("its input has no axis")
    length = build.emit(
        "ReduceL2", [source.name], {"axes": (source.stored_axis(-1),), "keepdims": 1}
    )[0]
    floor = build.add_constant("floor", np.asarray(_NORM_FLOOR, np.float32))
    safe = build.emit("Max", [length, floor])[0]
    build.write(operator, build.emit("Div", [source.name, safe])[0], source.perm)


def arg_extreme(build: Builder, operator: FileOperator) -> None:
    """ARG_MAX and ARG_MIN; the first of equal values wins in both worlds."""
    rank = len(build.tensor(operator, 0).shape)
    source = build.read(operator, 0, identity(rank))
    axes = axes_of(build, operator, 1, rank)
    if len(axes) != 1:
        raise operator.refuse(f"axes {list(axes)}, expected one")
    op = "ArgMax" if operator.code == "ARG_MAX" else "ArgMin"
    made = build.emit(op, [source.name], {"axis": axes[0], "keepdims": 0})[0]
    made = to_kind(build, operator, made, build.target(operator).kind)
    build.write(operator, made, identity(rank - 1))


def top_k(build: Builder, operator: FileOperator) -> None:
    """TOPK_V2 along the last axis."""
    rank = len(build.tensor(operator, 0).shape)
    source = build.read(operator, 0, identity(rank))
    count = as_ints(build.constant(operator, 1))
    if len(count) != 1 or not source.shape or not 0 < count[0] <= source.shape[-1]:
        raise operator.refuse(f"k is {list(count)} of {list(source.shape)}")
    values, indices = build.emit(
        "TopK", [source.name, build.ints("k", count)], {"axis": rank - 1}, outputs=2
    )
    build.write(operator, values, identity(rank))
    indices = to_kind(build, operator, indices, build.target(operator, 1).kind)
    build.write(operator, indices, identity(rank), index=1)


def cumulative_sum(build: Builder, operator: FileOperator) -> None:
    """CUMSUM along one axis."""
    source = build.read(operator)
    axes = axes_of(build, operator, 1, len(source.shape))
    if len(axes) != 1:
        raise operator.refuse(f"axes {list(axes)}, expected one")
    axis = build.add_constant("axis", np.asarray(source.stored_axis(axes[0]), np.int64))
    made = build.emit(
        "CumSum",
        [source.name, axis],
        {name: int(operator.options[name]) for name in ("exclusive", "reverse")},
    )
    build.write(operator, made[0], source.perm)


def resize(build: Builder, operator: FileOperator) -> None:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR to a constant size.

    Source: tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h: half pixel
    centers there mean ``floor((x + 0.5) * scale)``, which is ONNX's half pixel rounded up.
    """
    image = build.tensor(operator, 0).shape
    require_rank(operator, image, _IMAGE)
    size = as_ints(build.constant(operator, 1))
    if len(size) != len(image) - 2 or min(size) < 1:
        raise operator.refuse(f"its size is {list(size)}")
    bilinear = operator.code == "RESIZE_BILINEAR"
    if operator.options["align_corners"] and operator.options["half_pixel_centers"]:
        raise operator.refuse("align_corners and half_pixel_centers exclude each other")
    mode, nearest = "asymmetric", "floor"
    if operator.options["align_corners"]:
        mode, nearest = "align_corners", "round_prefer_ceil"
    elif operator.options["half_pixel_centers"]:
        mode, nearest = "half_pixel", "round_prefer_ceil"
    attributes: dict[str, Attribute] = {
        "mode": "linear" if bilinear else "nearest",
        "coordinate_transformation_mode": mode,
    }
    if not bilinear:
        attributes["nearest_mode"] = nearest
    wanted = build.ints("size", (image[0], image[3], *size))
    source = build.read(operator, 0, CHANNELS_FIRST)
    made = build.emit("Resize", [source.name, "", "", wanted], attributes)
    build.write(operator, made[0], CHANNELS_FIRST)
