"""Number by number: scaling, normalisation, quantization; and tables that do it in one look-up.

For 8-bit samples every such chain has 256 possible results (per channel), so that it can be
computed once, by the very functions below, and looked up afterwards: equal by construction.
"""

from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from edgeops.contracts.manifest import TensorSpec
from edgeops.contracts.preprocess import Normalize, Step
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Array, Floats, numpy_dtype

ELEMENTWISE: Final = frozenset({"scale", "normalize", "standardize", "dequantize"})


def apply_inplace(step: Step, values: Floats, *, channels: int = -1) -> None:
    """Apply one element-wise step to ``values``.

    Args:
        step: One of the kinds ``ELEMENTWISE``.
        values: float32, of any shape.
        channels: Axis of the channels or features, counted from the end.

    Raises:
        InferenceError: ``mean`` or ``std`` have another length than that axis.
    """
    if step.scale is not None:
        values *= np.float32(step.scale)
    elif step.dequantize is not None:
        values -= np.float32(step.dequantize.zero_point)
        values *= np.float32(step.dequantize.scale)
    else:
        given = step.normalize if step.normalize is not None else step.standardize
        if given is None:
            raise InferenceError(f"the step {step.kind} is not element-wise")
        mean, std = _per_channel(given, values.shape[channels], step.kind)
        behind = (1,) * (-1 - channels)  # broadcast along the axes behind the channels
        values -= mean.reshape(-1, *behind)
        values /= std.reshape(-1, *behind)


def _per_channel(given: Normalize, channels: int, kind: str) -> tuple[Floats, Floats]:
    mean = np.asarray(given.mean, dtype=np.float32)
    std = np.asarray(given.std, dtype=np.float32)
    for name, values in (("mean", mean), ("std", std)):
        if values.size not in {1, channels}:
            raise InferenceError(
                f"the step {kind} has {values.size} values of {name} for {channels} channels"
            )
    return mean, std


def is_per_channel(steps: Sequence[Step]) -> bool:
    """Return whether any of the steps treats channels differently."""
    return any(
        len(given.mean) > 1 or len(given.std) > 1
        for step in steps
        for given in (step.normalize, step.standardize)
        if given is not None
    )


def quantize(values: Floats, spec: TensorSpec, out: Array) -> None:
    """Write ``values`` into ``out`` as ``spec`` stores them.

    Integers: ``q = round(x / scale) + zero_point``, ties to even, clipped to the type's range,
    as ONNX QuantizeLinear says. Floats are copied.

    Args:
        values: Real numbers; not changed.
        spec: The tensor's element type, scale and zero point (no scale: plain integers).
        out: Same shape, element type of ``spec``.
    """
    dtype = numpy_dtype(spec.dtype)
    if not np.issubdtype(dtype, np.integer):
        np.copyto(out, values, casting="same_kind")
        return
    limits = np.iinfo(cast("np.dtype[np.int8]", dtype))
    scaled = values if spec.scale is None else values / np.float32(spec.scale)
    rounded = np.rint(scaled)
    rounded += np.float32(spec.zero_point)
    np.clip(rounded, limits.min, limits.max, out=rounded)
    np.copyto(out, rounded, casting="unsafe")


def dequantize(tensor: Array, spec: TensorSpec) -> Floats:
    """Return the real numbers that a tensor stands for, as float32."""
    if tensor.dtype == np.float32:
        return cast("Floats", tensor)
    values = tensor.astype(np.float32)
    if spec.scale is not None:
        values -= np.float32(spec.zero_point)
        values *= np.float32(spec.scale)
    return values


def table(
    steps: Sequence[Step], source: np.dtype[np.generic], channels: int, spec: TensorSpec
) -> Array:
    """Return what ``steps`` and ``quantize`` make of every 8-bit value.

    Args:
        steps: Element-wise steps.
        source: uint8 or int8.
        channels: Length of the last axis where a step is per channel, else 1.
        spec: The tensor that the values end in.

    Returns:
        ``(256, channels)`` of the tensor's type; row = the value's bits as an unsigned number.

    Raises:
        InferenceError: See ``apply_inplace``.
    """
    inputs = np.arange(256, dtype=np.uint8).view(source).astype(np.float32)
    values = np.repeat(inputs[:, None], channels, axis=1)
    for step in steps:
        apply_inplace(step, values)
    out = np.empty(values.shape, dtype=numpy_dtype(spec.dtype))
    quantize(values, spec, out)
    return out
