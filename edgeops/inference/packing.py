"""The last step of pre-processing: axis order, batch axis, element type of the tensor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgeops.contracts.manifest import InputSpec, TensorSpec
from edgeops.errors import InferenceError
from edgeops.inference import arithmetic
from edgeops.inference.arrays import Array, Floats, numpy_dtype
from edgeops.inference.form import COLOR_CHANNELS, IMAGE_AXES, Form, Geometry, Operation

_LOOKUP_DTYPES: Final = ("float32", "uint8", "int8")
"""Element types that OpenCV looks up into."""


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


@dataclass(frozen=True, slots=True)
class _Arrangement:
    """How one row becomes one tensor: permuted by ``axes`` (``None``: as it is), then reshaped."""

    axes: tuple[int, ...] | None


def pack_floats(
    operation: Operation,
    form: Form,
    spec: InputSpec,
    tensor: TensorSpec,
    *,
    keep_features: bool,
) -> Packing:
    """Return what ends with float values: runs ``operation``, arranges, quantizes.

    Raises:
        InferenceError: The result does not have the tensor's shape.
    """
    arrangement = _arrange(form, spec, tensor)
    count = form.shape[0] if form.windows else 1
    whole = np.empty((count, *tensor.shape), dtype=numpy_dtype(tensor.dtype))
    arranged = np.empty((count, *_permuted(form.rows, arrangement.axes)), dtype=np.float32)
    axes = None if arrangement.axes is None else (0, *(axis + 1 for axis in arrangement.axes))
    flat, tensors = arranged.reshape(whole.shape), tuple(whole)
    features = tuple(flat) if keep_features else ()
    rows = (count, *form.rows)

    def pack(values: Array, geometry: Geometry | None) -> Prepared:
        row = operation(values).reshape(rows)
        np.copyto(arranged, row if axes is None else row.transpose(axes))
        arithmetic.quantize(flat, tensor, whole)
        return Prepared(tensors, features, geometry)

    return pack


def pack_table(table: Array, form: Form, spec: InputSpec, tensor: TensorSpec) -> Packing | None:
    """Return what looks 8-bit values up, or ``None`` where that is not a gain.

    Args:
        table: See ``arithmetic.table``.
        form: Of 8-bit values, not windows.
        spec: Of the manifest.
        tensor: What the table's values are for.

    Raises:
        InferenceError: The result does not have the tensor's shape.
    """
    arrangement = _arrange(form, spec, tensor)
    whole = np.empty(tensor.shape, dtype=numpy_dtype(tensor.dtype))
    arranged = whole.reshape(_permuted(form.shape, arrangement.axes))
    look_up = _lookup(table, form, arrangement, arranged)
    if look_up is None:
        return None
    tensors = (whole,)

    def pack(values: Array, geometry: Geometry | None) -> Prepared:
        look_up(values)
        return Prepared(tensors, (), geometry)

    return pack


def _lookup(
    table: Array, form: Form, arrangement: _Arrangement, arranged: Array
) -> Operation | None:
    axes = arrangement.axes
    is_identity = table.dtype.itemsize == 1 and np.array_equal(
        table[:, 0].view(np.uint8), np.arange(256)
    )
    if is_identity and table.shape[1] == 1:
        return lambda values: _copy(arranged, values if axes is None else values.transpose(axes))
    color = len(form.shape) == IMAGE_AXES and form.shape[-1] == COLOR_CHANNELS
    if color and form.dtype == np.uint8 and table.dtype.name in _LOOKUP_DTYPES:
        from edgeops.inference import images  # noqa: PLC0415  # sensor models never load OpenCV

        if axes == (2, 0, 1):
            return images.plane_lookup(table, arranged)
        if axes is None:
            return images.pixel_lookup(table, arranged)
    if table.shape[1] > 1:
        return None
    column = np.ascontiguousarray(table[:, 0])

    def take(values: Array) -> Array:
        found = column[values.view(np.uint8)]
        return _copy(arranged, found if axes is None else found.transpose(axes))

    return take


def _copy(out: Array, values: Array) -> Array:
    np.copyto(out, values if values.dtype == out.dtype else values.view(out.dtype))
    return out


def _permuted(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...]:
    return shape if axes is None else tuple(shape[axis] for axis in axes)


def _arrange(form: Form, spec: InputSpec, tensor: TensorSpec) -> _Arrangement:
    """Return how rows of ``form`` become the tensor.

    Arrays are height, width, channels, unless a ``reshape`` gave them the order that the manifest
    declares. The variant's own layout wins over the manifest's: a TFLite variant of a model whose
    input is NCHW may take NHWC.
    """
    rows = form.rows
    wanted = tensor.layout if tensor.layout != "none" else spec.layout
    have = spec.layout if form.shaped else "nhwc"
    axes: tuple[int, ...] | None = None
    if len(rows) == IMAGE_AXES and "none" not in {wanted, have} and wanted != have:
        axes = (2, 0, 1) if wanted == "nchw" else (1, 2, 0)
    found = _permuted(rows, axes)
    target = tensor.shape
    if _without_ones(found) != _without_ones(target):
        hint = ""
        if len(rows) == IMAGE_AXES and axes is None and wanted == "none":
            hint = " (is the input's layout missing in the manifest?)"
        raise InferenceError(
            f"pre-processing ends with the shape {list(found)},"
            f" the input {tensor.name!r} takes {list(target)}{hint}"
        )
    return _Arrangement(axes)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
