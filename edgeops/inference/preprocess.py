"""From a raw sample to tensors: a manifest's steps, compiled for the samples that arrive.

The first sample of a kind (shape, element type, channel order) is planned: every step is checked
against what arrives at it and becomes one operation with its buffers. Later samples of that kind
only run the operations. Where steps can be done in another order or at once with *equal* results,
they are: channels are swapped after resizing, axes are arranged while values still are bytes, and
everything between 8-bit samples and an 8-bit tensor is one look-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgeops.contracts.manifest import InputSpec, TensorSpec
from edgeops.contracts.preprocess import ColorOrder, Step
from edgeops.errors import InferenceError
from edgeops.inference import arithmetic, signals
from edgeops.inference.arrays import Array, Floats, numpy_dtype
from edgeops.inference.form import (
    COLOR_CHANNELS,
    GRAY_AXES,
    IMAGE_AXES,
    Form,
    Geometry,
    Operation,
)
from edgeops.inference.packing import Packing, Prepared, pack_floats, pack_table

_SPATIAL: Final = frozenset({"resize", "letterbox", "crop"})
_SIGNAL: Final = frozenset({"window", "spectrum", "log_mel", "mfcc"})
_8_BIT: Final = (np.dtype(np.uint8), np.dtype(np.int8))


@dataclass(frozen=True, slots=True)
class _Plan:
    """The operations for one kind of sample."""

    kind: tuple[object, ...]
    operations: tuple[Operation, ...]
    finish: Packing
    geometry: Geometry | None

    def __call__(self, sample: Array) -> Prepared:
        value = sample
        for operation in self.operations:
            value = operation(value)
        return self.finish(value, self.geometry)


class Preprocessor:
    """A manifest's pre-processing for the input tensor of one variant.

    Args:
        spec: The steps, and the channel order of samples.
        tensor: What the variant takes.
        keep_features: Also keep the real numbers before quantization (reconstruction error).
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec, *, keep_features: bool = False) -> None:
        self._spec = spec
        self._tensor = tensor
        self._keep = keep_features
        self._plan: _Plan | None = None

    def __call__(self, sample: Array, color: ColorOrder | None = None) -> Prepared:
        """Return the tensors of one sample, valid until the next call.

        Args:
            sample: An image ``[height, width, channels]`` or ``[height, width]``, a signal
                ``[samples]`` or ``[samples, columns]``, or features of any shape.
            color: Channel order of an image; by default that of the manifest's data.

        Raises:
            InferenceError: The sample does not fit the steps, or their result the tensor.
        """
        if not sample.flags.c_contiguous:
            sample = np.ascontiguousarray(sample)
        kind = (sample.shape, sample.dtype, color)
        plan = self._plan
        if plan is None or plan.kind != kind:
            plan = self._plan = self._compile(kind, _form(sample, color, self._spec), color)
        return plan(sample)

    def _compile(self, kind: tuple[object, ...], form: Form, color: ColorOrder | None) -> _Plan:
        steps = _ordered(self._spec, form, color)
        tail = _elementwise_tail(steps)
        operations: list[Operation] = []
        body = list(steps[: len(steps) - len(tail)])
        while body:
            run = _leading_elementwise(body)
            if run:
                form, operation = _plan_floats(run, form)
                operations.append(operation)
                del body[: len(run)]
                continue
            form, planned = _plan(body.pop(0), form)
            if planned is not None:
                operations.append(planned)
        return _Plan(kind, tuple(operations), self._finish(tail, form), form.geometry)

    def _finish(self, tail: Sequence[Step], form: Form) -> Packing:
        narrow = form.dtype in _8_BIT and numpy_dtype(self._tensor.dtype) in _8_BIT
        if narrow and not self._keep and not form.windows:
            packing = pack_table(tail, form, self._spec, self._tensor)
            if packing is not None:
                return packing
        return pack_floats(tail, form, self._spec, self._tensor, keep_features=self._keep)


def _form(sample: Array, color: ColorOrder | None, spec: InputSpec) -> Form:
    if sample.size == 0 or sample.dtype.kind not in "iuf":
        raise InferenceError(
            f"cannot take a sample of shape {list(sample.shape)} and type {sample.dtype}"
        )
    form = Form(shape=sample.shape, dtype=sample.dtype)
    if sample.ndim not in {GRAY_AXES, IMAGE_AXES}:
        return form
    geometry = Geometry.whole(sample.shape[1], sample.shape[0])
    channels = 1 if sample.ndim == GRAY_AXES else sample.shape[2]
    known: ColorOrder | None = "gray" if channels == 1 else None
    if channels == COLOR_CHANNELS:
        known = color or spec.color
        if known == "gray":
            known = "rgb"
    return replace(form, geometry=geometry, color=known)


def _ordered(spec: InputSpec, form: Form, color: ColorOrder | None) -> list[Step]:
    """Return the steps with the implied colour step, channel swaps after resizing.

    Without a colour step the model takes what its data files hold: a camera's frames are brought
    to that order. Data files themselves (no ``color`` given) are taken as they are.
    """
    steps = list(spec.preprocess)
    has_color = any(step.color is not None for step in steps)
    implied = color is not None or spec.color == "gray"
    if not has_color and implied and form.color not in {None, spec.color}:
        steps.insert(0, Step(color=spec.color))
    present = form.color
    for index, step in enumerate(steps):
        if step.color is None:
            continue
        if present != "gray" and step.color != "gray":
            here = index
            # Swapping channels commutes with these exactly, and costs less on fewer pixels.
            while here + 1 < len(steps) and steps[here + 1].kind in _SPATIAL:
                steps[here], steps[here + 1] = steps[here + 1], steps[here]
                here += 1
        break
    return steps


def _elementwise_tail(steps: Sequence[Step]) -> Sequence[Step]:
    start = len(steps)
    while start and steps[start - 1].kind in arithmetic.ELEMENTWISE:
        start -= 1
    return steps[start:]


def _leading_elementwise(steps: Sequence[Step]) -> Sequence[Step]:
    end = 0
    while end < len(steps) and steps[end].kind in arithmetic.ELEMENTWISE:
        end += 1
    return steps[:end]


def _plan_floats(steps: Sequence[Step], form: Form) -> tuple[Form, Operation]:
    out: Floats = np.empty(form.shape, dtype=np.float32)
    for step in steps:  # a wrong number of means or deviations shows here, once
        arithmetic.apply_inplace(step, np.ones_like(out))
    steps = tuple(steps)

    def apply(values: Array) -> Array:
        np.copyto(out, values, casting="unsafe")
        for step in steps:
            arithmetic.apply_inplace(step, out)
        return out

    return replace(form, dtype=out.dtype), apply


def _plan(step: Step, form: Form) -> tuple[Form, Operation | None]:
    """Return the form after a step that is not element-wise, and its operation."""
    if step.reshape is not None:
        return _plan_reshape(step.reshape, form)
    if step.channels is not None:
        return signals.plan_channels(step.channels, form)
    if step.kind in _SIGNAL:
        return _plan_signal(step, form)
    return _plan_image(step, form)


def _plan_signal(step: Step, form: Form) -> tuple[Form, Operation | None]:
    if step.window is not None:
        return signals.plan_window(step.window, form)
    if step.spectrum is not None:
        return signals.plan_spectrum(step.spectrum, form)
    if step.log_mel is not None:
        return signals.plan_log_mel(step.log_mel, form)
    if step.mfcc is not None:
        return signals.plan_mfcc(step.mfcc, form)
    raise InferenceError(f"the step {step.kind} is not known here")


def _plan_image(step: Step, form: Form) -> tuple[Form, Operation | None]:
    from edgeops.inference import images  # noqa: PLC0415  # sensor models never load OpenCV

    if step.resize is not None:
        return images.plan_resize(step.resize, form)
    if step.letterbox is not None:
        return images.plan_letterbox(step.letterbox, form)
    if step.crop is not None:
        return images.plan_crop(step.crop, form)
    if step.color is not None:
        return images.plan_color(step.color, form)
    raise InferenceError(f"the step {step.kind} is not known here")


def _plan_reshape(shape: tuple[int, ...], form: Form) -> tuple[Form, Operation]:
    whole = (form.shape[0], *shape) if form.windows else shape
    if np.prod(whole) != np.prod(form.shape):
        raise InferenceError(f"cannot give the shape {list(shape)} to {list(form.rows)}")
    after = replace(form, shape=whole, shaped=True, geometry=None, color=None)
    return after, lambda values: values.reshape(whole)
