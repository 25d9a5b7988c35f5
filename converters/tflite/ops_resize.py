"""Resize of images: only the variants whose arithmetic TFLite shares."""

import numpy as np

from converters.arrays import as_floats
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.layout import IMAGE_RANK, NHWC
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.schema import Option

_HALF_PIXEL_VERSION = 3


def lower_resize(lowering: Lowering, node: Node) -> None:
    """Write Resize as RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR."""
    before = lowering.graph.shape(node.inputs[0])
    after = lowering.graph.shape(node.outputs[0])
    with AttributeReader(node) as attributes:
        mode = attributes.text("mode", "nearest")
        where = attributes.text("coordinate_transformation_mode", "half_pixel")
        rounding = attributes.text("nearest_mode", "round_prefer_floor")
        attributes.only("antialias", 0)
        attributes.only("exclude_outside", 0)
        attributes.only("keep_aspect_ratio_policy", "stretch")
        attributes.ignore("cubic_coeff_a", "extrapolation_value")  # of modes refused below
    if len(before) != IMAGE_RANK or before[:2] != after[:2]:
        raise node.refuse("only the two image axes can be resized", SUGGESTION)
    _check_scales(lowering, node, before, after)
    if mode == "nearest":
        _check_nearest(node, before, after, where, rounding)
        code, kind = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"
        corners, half = False, False
    elif mode == "linear":
        code, kind = "RESIZE_BILINEAR", "ResizeBilinearOptions"
        corners, half = _linear_flags(node, after, where)
    else:
        raise node.refuse(f"mode {mode} is not supported", "use nearest or linear")
    source = lowering.read(node, 0, NHWC)
    size = np.asarray(after[2:], np.int32)
    result = lowering.named(node, node.outputs[0], NHWC)
    fields: dict[str, Option] = {"alignCorners": corners, "halfPixelCenters": half}
    lowering.emit(
        code,
        [source.tensor, lowering.raw_constant("size", size)],
        result,
        (kind, fields),
        version=_HALF_PIXEL_VERSION if half else None,
    )


def _check_scales(
    lowering: Lowering, node: Node, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """Refuse scales that are not exactly the ratio of the sizes, which TFLite uses."""
    if not node.optional_input(2):
        return
    scales = as_floats(lowering.constant(node, 2))
    if scales.size == 0:
        return
    exact = [float(scale) * size for scale, size in zip(scales, before, strict=True)]
    if not np.allclose(exact, after, rtol=1e-6, atol=0):
        raise node.refuse(f"scales {scales.tolist()} do not give whole sizes", SUGGESTION)


def _check_nearest(
    node: Node, before: tuple[int, ...], after: tuple[int, ...], where: str, rounding: str
) -> None:
    if where == "asymmetric" and rounding == "floor":
        return
    whole = all(new % old == 0 for old, new in zip(before, after, strict=True))
    # For whole factors all of these pick pixel ``x // factor``.
    centred = where in ("half_pixel", "pytorch_half_pixel")
    if whole and centred and rounding in ("round_prefer_floor", "round_prefer_ceil"):
        return
    raise node.refuse(f"nearest with {where} and {rounding} is not supported", SUGGESTION)


def _linear_flags(node: Node, after: tuple[int, ...], where: str) -> tuple[bool, bool]:
    """Return (align_corners, half_pixel_centers)."""
    if where == "asymmetric":
        return False, False
    if where == "align_corners" and min(after[2:]) > 1:
        return True, False
    if where == "half_pixel" or (where == "pytorch_half_pixel" and min(after[2:]) > 1):
        return False, True
    raise node.refuse(f"linear with {where} is not supported", SUGGESTION)
