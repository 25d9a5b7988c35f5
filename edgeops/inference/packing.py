"""The last step of pre-processing: axis order, batch axis, element type of the tensor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from edgeops.contracts.manifest import InputSpec, TensorSpec
from edgeops.contracts.preprocess import Step
from edgeops.errors import InferenceError
from edgeops.inference.arithmetic import apply_inplace, is_per_channel, quantize, table
from edgeops.inference.arrays import Array, Floats, numpy_dtype
from edgeops.inference.form import COLOR_CHANNELS, IMAGE_AXES, Form, Geometry, Operation

_TO_PLANES: Final = (2, 0, 1)
_FROM_PLANES: Final = (1, 2, 0)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One sample as tensors.

    Attributes:
        tensors: One per window (one where the sample is not cut), batch axis included.
        features: The same before quantization; empty unless the task asks for them.
        geometry: Where pixels came from; ``None`` where the sample is no image.
    """

    tensors: tuple[Array, ...]
    features: tuple[Floats, ...] = ()
    geometry: Geometry | None = None


Packing = Callable[[Array, Geometry | None], Prepared]


def pack_floats(
    steps: Sequence[Step],
    form: Form,
    spec: InputSpec,
    tensor: TensorSpec,
    *,
    keep_features: bool,
) -> Packing:
    """Return what arranges, applies element-wise ``steps`` in float32, and quantizes.

    Args:
        steps: Element-wise steps.
        form: Of the values that arrive.
        spec: Of the manifest.
        tensor: What the values end in.
        keep_features: Also hand out the real numbers.

    Raises:
        InferenceError: The result does not have the tensor's shape.
    """
    axes = _axes(form, spec, tensor)
    channels = _channel_axis(form.rows, axes)
    count = form.shape[0] if form.windows else 1
    whole = np.empty((count, *tensor.shape), dtype=numpy_dtype(tensor.dtype))
    is_float = tensor.dtype == "float32"
    # Float tensors are calculated in place; others are quantized from a buffer of their own.
    flat = cast("Floats", whole) if is_float else np.empty(whole.shape, dtype=np.float32)
    numbers = flat.reshape(count, *_permuted(form.rows, axes))
    tensors = tuple(whole)
    features = tuple(flat) if keep_features else ()
    arrange = _arranging(form, axes)
    for step in steps:  # a wrong number of means or deviations shows here, once
        apply_inplace(step, np.ones_like(numbers), channels=channels)

    def pack(values: Array, geometry: Geometry | None) -> Prepared:
        np.copyto(numbers, arrange(values), casting="unsafe")
        for step in steps:
            apply_inplace(step, numbers, channels=channels)
        if not is_float:
            quantize(flat, tensor, whole)
        return Prepared(tensors, features, geometry)

    return pack


def pack_table(
    steps: Sequence[Step], form: Form, spec: InputSpec, tensor: TensorSpec
) -> Packing | None:
    """Return what looks 8-bit values up in a table of 8-bit results; ``None`` if nothing can.

    Args:
        steps: Element-wise steps.
        form: Of 8-bit values, not windows.
        spec: Of the manifest.
        tensor: What the values end in, of an 8-bit type.

    Raises:
        InferenceError: The result does not have the tensor's shape.
    """
    axes = _axes(form, spec, tensor)
    columns = form.shape[-1] if is_per_channel(steps) else 1
    results = table(steps, form.dtype, columns, tensor)
    whole = np.empty(tensor.shape, dtype=numpy_dtype(tensor.dtype))
    out = whole.reshape(_permuted(form.shape, axes))
    look_up = _lookup(results, form, axes, out)
    if look_up is None:
        return None
    arrange = _arranging(form, axes)
    tensors = (whole,)

    def pack(values: Array, geometry: Geometry | None) -> Prepared:
        look_up(arrange(values))
        return Prepared(tensors, (), geometry)

    return pack


def _lookup(
    results: Array, form: Form, axes: tuple[int, ...] | None, out: Array
) -> Operation | None:
    """Return the cheapest operation that does what the table says."""
    out_bytes = out.view(np.uint8)
    if results.shape[1] == 1:
        column = np.ascontiguousarray(results[:, 0])
        for flip in (0x00, 0x80):  # nothing, or what makes int8 of uint8
            if np.array_equal(column.view(np.uint8), np.arange(256) ^ flip):
                mask = np.uint8(flip)
                return lambda values: np.bitwise_xor(values.view(np.uint8), mask, out=out_bytes)
        if not _is_color(form):
            return lambda values: np.take(column, values.view(np.uint8), out=out, mode="clip")
    if not _is_color(form):
        return None
    from edgeops.inference import images  # noqa: PLC0415  # sensor models never load OpenCV

    return images.look_up(results, out, planes=axes is not None)


def _arranging(form: Form, axes: tuple[int, ...] | None) -> Operation:
    """Return what brings values into the tensor's axis order."""
    if axes is None:
        return lambda values: values
    if _is_color(form) and axes == _TO_PLANES:
        from edgeops.inference import images  # noqa: PLC0415  # sensor models never load OpenCV

        return images.split(form.shape)
    whole = (0, *(axis + 1 for axis in axes)) if form.windows else axes
    return lambda values: values.transpose(whole)


def _is_color(form: Form) -> bool:
    return (
        form.dtype == np.uint8
        and not form.windows
        and not form.shaped
        and len(form.shape) == IMAGE_AXES
        and form.shape[-1] == COLOR_CHANNELS
    )


def _channel_axis(rows: tuple[int, ...], axes: tuple[int, ...] | None) -> int:
    """Return where the last axis of ``rows`` goes, counted from the end."""
    return -1 if axes is None else axes.index(len(rows) - 1) - len(rows)


def _permuted(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...]:
    return shape if axes is None else tuple(shape[axis] for axis in axes)


def _axes(form: Form, spec: InputSpec, tensor: TensorSpec) -> tuple[int, ...] | None:
    """Return the permutation that makes tensors of rows, ``None`` where they have its order.

    Arrays are height, width, channels, unless a ``reshape`` gave them the order that the manifest
    declares. The variant's own layout wins over the manifest's: a TFLite variant of a model whose
    input is NCHW may take NHWC.
    """
    rows = form.rows
    wanted = tensor.layout if tensor.layout != "none" else spec.layout
    have = spec.layout if form.shaped else "nhwc"
    axes: tuple[int, ...] | None = None
    if len(rows) == IMAGE_AXES and "none" not in {wanted, have} and wanted != have:
        axes = _TO_PLANES if wanted == "nchw" else _FROM_PLANES
    found = _permuted(rows, axes)
    if _without_ones(found) != _without_ones(tensor.shape):
        hint = ""
        if len(rows) == IMAGE_AXES and axes is None and wanted == "none":
            hint = " (is the input's layout missing in the manifest?)"
        raise InferenceError(
            f"pre-processing ends with the shape {list(found)},"
            f" the input {tensor.name!r} takes {list(tensor.shape)}{hint}"
        )
    return axes


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
