"""Image steps through OpenCV; imported only where a model's pre-processing has one.

Every step writes into a buffer that it keeps: a camera's frames all have one size.
"""

from dataclasses import replace
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeops.contracts.preprocess import ColorOrder, Crop, Interpolation, Letterbox, Resize
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Array
from edgeops.inference.form import (
    COLOR_CHANNELS,
    GRAY_AXES,
    IMAGE_AXES,
    Form,
    Geometry,
    Operation,
)

# One inference has one thread by default; OpenCV would start one per core for every resize.
cv2.setNumThreads(1)

Pixels = NDArray[np.uint8]

_INTERPOLATION: Final[dict[Interpolation, int]] = {
    "linear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}

_CONVERSION: Final[dict[tuple[ColorOrder, ColorOrder], int]] = {
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "gray"): cv2.COLOR_RGB2GRAY,
    ("bgr", "gray"): cv2.COLOR_BGR2GRAY,
    ("gray", "rgb"): cv2.COLOR_GRAY2RGB,
    ("gray", "bgr"): cv2.COLOR_GRAY2BGR,
}

# 640 * (416 / 640) may come out as 415.99...
_ROUNDING: Final = 1e-6
_MAX_CHANNELS: Final = 4
_DTYPES: Final = (np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.float32))


def plan_resize(step: Resize, form: Form) -> tuple[Form, Operation | None]:
    """Return the form after the step, and the step; ``None`` where nothing is to do."""
    geometry = image_geometry(form, "resize")
    if geometry.size == step.size:
        return form, None
    width, height = step.size
    out = np.empty((height, width, *form.shape[2:]), dtype=form.dtype)
    target, how = cast("Pixels", out), _INTERPOLATION[step.interpolation]

    def resize(image: Array) -> Array:
        cv2.resize(cast("Pixels", image), (width, height), dst=target, interpolation=how)
        return out

    return replace(form, shape=out.shape, geometry=geometry.resized(step.size)), resize


def plan_letterbox(step: Letterbox, form: Form) -> tuple[Form, Operation | None]:
    """Return the form after the step, and the step."""
    geometry = image_geometry(form, "letterbox")
    (width, height), (old_width, old_height) = step.size, geometry.size
    if (width, height) == (old_width, old_height):
        return form, None
    ratio = min(width / old_width, height / old_height)
    inner_width = max(1, min(width, int(old_width * ratio + _ROUNDING)))
    inner_height = max(1, min(height, int(old_height * ratio + _ROUNDING)))
    left = (width - inner_width) // 2 if step.center else 0
    top = (height - inner_height) // 2 if step.center else 0
    # The border is painted once: every frame only overwrites the inner part.
    out = np.full((height, width, *form.shape[2:]), step.pad, dtype=form.dtype)
    inner = out[top : top + inner_height, left : left + inner_width]
    target, how = cast("Pixels", inner), _INTERPOLATION[step.interpolation]

    def letterbox(image: Array) -> Array:
        cv2.resize(
            cast("Pixels", image), (inner_width, inner_height), dst=target, interpolation=how
        )
        return out

    scaled = geometry.resized((inner_width, inner_height)).moved(step.size, left, top)
    return replace(form, shape=out.shape, geometry=scaled), letterbox


def plan_crop(step: Crop, form: Form) -> tuple[Form, Operation | None]:
    """Return the form after the step, and the step.

    Raises:
        InferenceError: The image is smaller than the cut.
    """
    geometry = image_geometry(form, "crop")
    (width, height), (old_width, old_height) = step.size, geometry.size
    if width > old_width or height > old_height:
        raise InferenceError(
            f"cannot cut {width}x{height} pixels out of an image of {old_width}x{old_height}"
        )
    if geometry.size == step.size:
        return form, None
    left, top = (old_width - width) // 2, (old_height - height) // 2

    def crop(image: Array) -> Array:
        return image[top : top + height, left : left + width]

    cut = geometry.moved(step.size, -left, -top)
    return replace(form, shape=(height, width, *form.shape[2:]), geometry=cut), crop


def plan_color(wanted: ColorOrder, form: Form) -> tuple[Form, Operation | None]:
    """Return the form after the step, and the step; ``None`` where the order is right already."""
    image_geometry(form, "color")
    if form.color is None or form.color == wanted:
        return replace(form, color=wanted), None
    code = _CONVERSION[form.color, wanted]
    channels = () if wanted == "gray" else (COLOR_CHANNELS,)
    out = np.empty((*form.shape[:2], *channels), dtype=form.dtype)
    target = cast("Pixels", out)

    def convert(image: Array) -> Array:
        cv2.cvtColor(cast("Pixels", image), code, dst=target)
        return out

    return replace(form, shape=out.shape, color=wanted), convert


def image_geometry(form: Form, kind: str) -> Geometry:
    """Return the geometry of an image.

    Raises:
        InferenceError: What arrives is not an image, or of a type that OpenCV does not resize.
    """
    if form.geometry is None or len(form.shape) not in {GRAY_AXES, IMAGE_AXES}:
        raise InferenceError(f"the step {kind} needs an image, got the shape {list(form.shape)}")
    if len(form.shape) == IMAGE_AXES and form.shape[2] > _MAX_CHANNELS:
        raise InferenceError(f"the step {kind} cannot work on {form.shape[2]} channels")
    if form.dtype not in _DTYPES:
        raise InferenceError(f"the step {kind} cannot work on {form.dtype}")
    return form.geometry


def split(shape: tuple[int, ...]) -> Operation:
    """Return an operation that brings an image's channels to the front: ``[channels, h, w]``.

    Args:
        shape: Of the uint8 image, ``(height, width, channels)``.
    """
    height, width, channels = shape
    planes = np.empty((channels, height, width), dtype=np.uint8)
    each = list(planes)

    def to_planes(image: Array) -> Array:
        cv2.split(cast("Pixels", image), each)
        return planes

    return to_planes


def look_up(table: Array, out: Array, *, planes: bool) -> Operation:
    """Return an operation that looks every value of an image up into ``out``.

    Args:
        table: ``(256, channels)``, or ``(256, 1)`` for all channels.
        out: Contiguous, of the image's shape.
        planes: Channels are the first axis, not the last.
    """
    columns = np.ascontiguousarray(table.T)
    if planes:
        rows = [columns[min(c, len(columns) - 1)] for c in range(len(out))]

        def by_plane(image: Array) -> Array:
            for plane, row, target in zip(image, rows, out, strict=True):
                _look_up(plane, row, target)
            return out

        return by_plane
    wanted = np.ascontiguousarray(table[None] if table.shape[1] > 1 else columns)

    def by_pixel(image: Array) -> Array:
        _look_up(image, wanted, out)
        return out

    return by_pixel


def _look_up(image: Array, table: Array, out: Array) -> None:
    cv2.LUT(cast("Pixels", image), cast("Pixels", table), dst=cast("Pixels", out))
