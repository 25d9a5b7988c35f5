"""Resize: TFLite's own operators where their arithmetic is the same, else element by element."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from converters.arrays import as_floats, as_ints
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import binary
from converters.tflite.layout import IMAGE_RANK, NHWC, Value
from converters.tflite.lowering import FLOAT32, SUGGESTION, Lowering
from converters.tflite.ops_index import pick
from converters.tflite.resampling import (
    ROUNDINGS,
    TRANSFORMATIONS,
    Axis,
    Taps,
    cubic,
    linear,
    nearest,
)
from converters.tflite.schema import Option

_DOUBLE = 2
_HALF_PIXEL_VERSION = 3
_CUBIC_SLOPE = -0.75


@dataclass(frozen=True, slots=True)
class _Resize:
    """What a Resize node asks for; axes that keep their size are not in ``axes``."""

    mode: str
    where: str
    rounding: str
    slope: float
    exclude_outside: bool
    axes: Mapping[int, Axis]


def lower_resize(lowering: Lowering, node: Node) -> None:
    """Write Resize of any axes, nearest, linear or cubic, with whole or fractional scales.

    Images go to RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR where these compute the same;
    other variants become gathers and weighted sums per axis. Refused are antialiasing,
    cropping, and nearest elements that hang on the last bit of a coordinate.
    """
    if lowering.graph.dtype(node.inputs[0]) != FLOAT32:
        raise node.refuse("only float32 is supported", SUGGESTION)
    asked = _read(lowering, node)
    if _is_image(lowering, node, asked):
        if asked.mode == "nearest" and _is_builtin_nearest(asked):
            if _is_doubling(asked):
                _emit_doubled(lowering, node)
                return
            _emit_builtin(lowering, node, "NearestNeighbor", corners=False, half=False)
            return
        flags = _linear_flags(asked) if asked.mode == "linear" else None
        if flags is not None:
            _emit_builtin(lowering, node, "Bilinear", corners=flags[0], half=flags[1])
            return
    if asked.mode == "nearest":
        _emit_nearest(lowering, node, asked)
    else:
        _emit_weighted(lowering, node, asked)


def _read(lowering: Lowering, node: Node) -> _Resize:
    with AttributeReader(node) as attributes:
        mode = attributes.text("mode", "nearest")
        where = attributes.text("coordinate_transformation_mode", "half_pixel")
        rounding = attributes.text("nearest_mode", "round_prefer_floor")
        slope = attributes.number("cubic_coeff_a", _CUBIC_SLOPE)
        outside = attributes.integer("exclude_outside", 0) == 1
        policy = attributes.text("keep_aspect_ratio_policy", "stretch")
        stated = attributes.integers("axes", ())
        attributes.only("antialias", 0)
        attributes.ignore("extrapolation_value")  # of cropping, which is refused
    if mode not in ("nearest", "linear", "cubic"):
        raise node.refuse(f"mode {mode} is not supported", "use nearest, linear or cubic")
    if where not in TRANSFORMATIONS or rounding not in ROUNDINGS:
        raise node.refuse(f"{mode} with {where} and {rounding} is not supported", SUGGESTION)
    if mode == "linear" and outside:
        raise node.refuse("linear with exclude_outside is not supported", SUGGESTION)
    axes = _axes(lowering, node, stated, policy)
    if where == "align_corners" and not all(_is_exact(axis) for axis in axes.values()):
        # The specification and runtimes differ on which of the two sizes counts.
        raise node.refuse("align_corners with scales that give no whole size", SUGGESTION)
    return _Resize(mode, where, rounding, slope, outside, axes)


def _axes(lowering: Lowering, node: Node, stated: tuple[int, ...], policy: str) -> dict[int, Axis]:
    """Return the axes that are resized, with their scales."""
    before = lowering.graph.shape(node.inputs[0])
    after = lowering.graph.shape(node.outputs[0])
    axes = [axis % len(before) for axis in stated] or list(range(len(before)))
    scales: list[float] = []
    if node.optional_input(2):
        scales = [float(scale) for scale in as_floats(lowering.constant(node, 2)).ravel()]
    if not scales and policy != "stretch":
        sizes = as_ints(lowering.constant(node, 3))
        ratios = [size / before[axis] for size, axis in zip(sizes, axes, strict=True)]
        scales = [min(ratios) if policy == "not_larger" else max(ratios)] * len(axes)
    if not scales:
        scales = [float(np.float32(after[axis]) / np.float32(before[axis])) for axis in axes]
    if len(scales) != len(axes) or min(scales) <= 0:
        raise node.refuse(f"its scales {scales} do not fit its axes", "the model is damaged")
    return {
        axis: Axis(before[axis], after[axis], scale)
        for axis, scale in zip(axes, scales, strict=True)
        if before[axis] != after[axis] or scale != 1.0
    }


def _is_image(lowering: Lowering, node: Node, asked: _Resize) -> bool:
    """Whether only the image axes change, by exactly the ratio of their sizes."""
    rank = len(lowering.graph.shape(node.inputs[0]))
    exact = all(_is_exact(axis) for axis in asked.axes.values())
    return rank == IMAGE_RANK and exact and not set(asked.axes) & {0, 1}


def _is_exact(axis: Axis) -> bool:
    """Whether the scale is the ratio of the two sizes."""
    return bool(np.isclose(axis.scale * axis.before, axis.after, rtol=1e-6, atol=0))


def _is_builtin_nearest(asked: _Resize) -> bool:
    if asked.where == "asymmetric" and asked.rounding == "floor":
        return True
    # For whole factors all of these pick pixel ``x // factor``.
    whole = all(axis.after % axis.before == 0 for axis in asked.axes.values())
    centred = asked.where in ("half_pixel", "half_pixel_symmetric")
    if asked.where == "pytorch_half_pixel":
        centred = all(axis.after > 1 for axis in asked.axes.values())
    return whole and centred and asked.rounding.startswith("round")


def _linear_flags(asked: _Resize) -> tuple[bool, bool] | None:
    """Return (align_corners, half_pixel_centers), if RESIZE_BILINEAR computes the same."""
    smallest = min((axis.after for axis in asked.axes.values()), default=2)
    if asked.where == "asymmetric":
        return False, False
    if asked.where == "align_corners" and smallest > 1:
        return True, False
    if asked.where in ("half_pixel", "half_pixel_symmetric"):
        return False, True
    if asked.where == "pytorch_half_pixel" and smallest > 1:
        return False, True
    return None


def _emit_builtin(lowering: Lowering, node: Node, kind: str, *, corners: bool, half: bool) -> None:
    source = lowering.read(node, 0, NHWC)
    size = np.asarray(lowering.graph.shape(node.outputs[0])[2:], np.int32)
    result = lowering.named(node, node.outputs[0], NHWC)
    fields: dict[str, Option] = {"alignCorners": corners, "halfPixelCenters": half}
    lowering.emit(
        "RESIZE_BILINEAR" if kind == "Bilinear" else "RESIZE_NEAREST_NEIGHBOR",
        [source.tensor, lowering.raw_constant("size", size)],
        result,
        (f"Resize{kind}Options", fields),
        version=_HALF_PIXEL_VERSION if half else None,
    )


def _is_doubling(asked: _Resize) -> bool:
    return set(asked.axes) == {2, 3} and all(
        axis.after == _DOUBLE * axis.before for axis in asked.axes.values()
    )


def _emit_doubled(lowering: Lowering, node: Node) -> None:
    """Write four copies side by side as the channels of DEPTH_TO_SPACE.

    RESIZE_NEAREST_NEIGHBOR is a portable kernel that splits an accelerated graph in two; this
    moves the same numbers and does not.
    """
    source = lowering.read(node, 0, NHWC)
    batch, channels, height, width = source.shape
    copies = _DOUBLE * _DOUBLE
    shape = (batch, copies * channels, height, width)
    wide = lowering.temporary(shape, NHWC, source.dtype, source.grid)
    joined: dict[str, Option] = {"axis": IMAGE_RANK - 1, "fusedActivationFunction": "NONE"}
    inputs = [source.tensor] * copies
    lowering.emit("CONCATENATION", inputs, wide, ("ConcatenationOptions", joined))
    result = lowering.named(node, node.outputs[0], NHWC)
    lowering.emit(
        "DEPTH_TO_SPACE", [wide.tensor], result, ("DepthToSpaceOptions", {"blockSize": _DOUBLE})
    )


def _emit_nearest(lowering: Lowering, node: Node, asked: _Resize) -> None:
    source = lowering.read(node)
    for number, axis in asked.axes.items():
        places = nearest(axis, asked.where, asked.rounding)
        if places is None:
            raise node.refuse("its nearest elements hang on the last bit", SUGGESTION)
        source = pick(lowering, source, number, places.tolist())
    lowering.emit_reshape(source, lowering.named(node, node.outputs[0], source.perm))


def _emit_weighted(lowering: Lowering, node: Node, asked: _Resize) -> None:
    """Write a weighted sum of gathers per axis; an integer node computes it in float."""
    source = lowering.read_on(node, 0, None, None)
    for number, axis in asked.axes.items():
        if asked.mode == "linear":
            taps = linear(axis, asked.where)
        else:
            taps = cubic(axis, asked.where, asked.slope, exclude_outside=asked.exclude_outside)
        source = _weighted(lowering, source, number, taps)
    result = lowering.named(node, node.outputs[0], source.perm)
    if result.grid is None:
        lowering.emit_reshape(source, result)
    else:
        lowering.emit("QUANTIZE", [source.tensor], result, ("QuantizeOptions", {}), version=1)


def _weighted(lowering: Lowering, source: Value, axis: int, taps: Taps) -> Value:
    shape = tuple(-1 if other == axis else 1 for other in range(len(source.shape)))
    total: Value | None = None
    for places, weights in zip(taps.places, taps.weights, strict=True):
        part = pick(lowering, source, axis, places.tolist())
        part = binary(lowering, "MUL", part, weights.reshape(shape))
        total = part if total is None else binary(lowering, "ADD", total, part)
    return source if total is None else total
