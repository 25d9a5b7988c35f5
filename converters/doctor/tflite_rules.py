"""Rules for TFLite files; each looks at the whole file and yields what it finds."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np

from converters.doctor.findings import Finding, finding
from converters.doctor.kernel_versions import NEWEST, OLD_RUNTIME
from converters.doctor.weights import count_not_finite, dead_channels
from converters.importing.tflite.file import LEFT_OUT, FileTensor, TfliteFile
from converters.importing.tflite.weights import hybrid_operators, kind_of

Check: TypeAlias = Callable[[TfliteFile], Iterator[Finding]]

_CHANNEL_AXES: Final = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
_WEIGHTS_AT: Final = 1
_BYTES_PER_ZERO_POINT: Final = 8


def _tensors(file: TfliteFile) -> Iterator[tuple[int, FileTensor]]:
    for graph in file.graphs:
        yield from enumerate(graph.tensors)


def right_axis(tensor: FileTensor) -> int | None:
    """Return the axis that the scales of ``tensor`` can mean: the only one of their number."""
    if tensor.quantization is None:
        return None
    count = len(tensor.quantization.scale)
    fitting = [axis for axis, size in enumerate(tensor.shape) if size == count]
    return fitting[0] if len(fitting) == 1 else None


def has_wrong_axis(tensor: FileTensor) -> bool:
    """Whether the scales of ``tensor`` count an axis that it does not have.

    Runtimes also refuse a single scale whose axis lies outside, but only where it is one of
    several elements; one scale for the whole tensor has no axis.
    """
    if tensor.quantization is None or len(tensor.quantization.scale) == 1:
        return False
    axis = tensor.quantization.axis
    return not (
        0 <= axis < len(tensor.shape) and tensor.shape[axis] == len(tensor.quantization.scale)
    )


def scale_axes(file: TfliteFile) -> Iterator[Finding]:
    """Scales per channel that count the wrong axis."""
    for _, tensor in _tensors(file):
        if tensor.quantization is None or not has_wrong_axis(tensor):
            continue
        scales, axis = len(tensor.quantization.scale), tensor.quantization.axis
        what = f"{scales} scales on axis {axis} of {list(tensor.shape)}"
        rule = "scale-axis" if right_axis(tensor) is not None else "scale-count"
        yield finding(rule, tensor.name, what)


def scales(file: TfliteFile) -> Iterator[Finding]:
    """Scales that are no positive numbers."""
    for _, tensor in _tensors(file):
        if tensor.quantization is None:
            continue
        values = np.asarray(tensor.quantization.scale)
        wrong = int(np.count_nonzero(~(np.isfinite(values) & (values > 0))))
        if wrong:
            yield finding("bad-scale", tensor.name, f"{wrong} of {values.size} scales are unusable")


def versions(file: TfliteFile) -> Iterator[Finding]:
    """Operators that are newer than a runtime."""
    used = {(op.code, op.version) for graph in file.graphs for op in graph.operators}
    for code, version in sorted(used):
        known = NEWEST.get(code)
        if known is None:
            continue
        older = [name for name, newest in known.items() if version > newest]
        if older:
            limits = ", ".join(f"{name} knows up to {known[name]}" for name in older)
            yield finding("kernel-version", code, f"version {version}; {limits}")


def custom_operators(file: TfliteFile) -> Iterator[Finding]:
    """Operators that runtimes do not bring."""
    counts = Counter(
        op.code for graph in file.graphs for op in graph.operators if op.code.startswith("CUSTOM:")
    )
    for code, count in sorted(counts.items()):
        yield finding("custom-operator", code.removeprefix("CUSTOM:"), f"used {count} times")


def signatures(file: TfliteFile) -> Iterator[Finding]:
    """Files without a signature."""
    if not file.signatures:
        yield finding("no-signature", "", "the file has no signature")


def numbers(file: TfliteFile) -> Iterator[Finding]:
    """Hybrids and quantized files."""
    for graph in file.graphs:
        kind = kind_of(graph)
        if kind == "hybrid":
            count = len(hybrid_operators(graph))
            yield finding(
                "hybrid", "", f"{count} of {len(graph.operators)} operators have integer weights"
            )
        elif kind == "quantized":
            yield finding("quantized", "", "activations are stored in integers")


def weights(file: TfliteFile) -> Iterator[Finding]:
    """Weights that are not finite, and channels that are all zero."""
    for _, tensor in _tensors(file):
        value = tensor.value()
        if value is not None and (count := count_not_finite(value)):
            yield finding("not-finite", tensor.name, f"{count} of {value.size} elements")
    for graph in file.graphs:
        for operator in graph.operators:
            axis = _CHANNEL_AXES.get(operator.code)
            if axis is None or len(operator.inputs) <= _WEIGHTS_AT:
                continue
            place = operator.inputs[_WEIGHTS_AT]
            if place == LEFT_OUT:
                continue
            tensor = graph.tensors[place]
            value = tensor.value()
            if value is None or _has_offsets(tensor):
                continue
            if count := dead_channels(value, axis):
                yield finding("dead-channels", tensor.name, f"{count} of {value.shape[axis]}")


def _has_offsets(tensor: FileTensor) -> bool:
    return tensor.quantization is not None and any(tensor.quantization.zero_point)


def halves(file: TfliteFile) -> Iterator[Finding]:
    """Constants in float16."""
    count = sum(t.kind == "float16" and t.data is not None for _, t in _tensors(file))
    if count:
        yield finding("half-precision", "", f"{count} constants")


def open_shapes(file: TfliteFile) -> Iterator[Finding]:
    """Inputs whose shape is left open."""
    for graph in file.graphs[:1]:
        for index in graph.inputs:
            tensor = graph.tensors[index]
            if tensor.open_axes:
                axes = ", ".join(str(axis) for axis in tensor.open_axes)
                yield finding("open-shape", tensor.name, f"axis {axes} of {list(tensor.shape)}")


def zero_points(file: TfliteFile) -> Iterator[Finding]:
    """Equal vectors of zero points, each stored again."""
    stored: dict[int, set[int]] = {}
    for _, tensor in _tensors(file):
        known = tensor.quantization
        if known is not None and len(known.zero_point) > 1 and not any(known.zero_point):
            stored.setdefault(len(known.zero_point), set()).add(known.zero_point_at)
    size = sum(
        _BYTES_PER_ZERO_POINT * length * (len(places) - 1) for length, places in stored.items()
    )
    if size:
        yield finding("zero-points", "", f"{size} bytes of {file.size_bytes}")


CHECKS: Final[tuple[Check, ...]] = (
    scale_axes,
    scales,
    versions,
    custom_operators,
    signatures,
    numbers,
    weights,
    halves,
    open_shapes,
    zero_points,
)


def oldest_versions(file: TfliteFile) -> dict[str, int]:
    """Return the operators to stamp with an older version, for the oldest runtime we know."""
    used = {(op.code, op.version) for graph in file.graphs for op in graph.operators}
    return {
        code: NEWEST[code][OLD_RUNTIME]
        for code, version in sorted(used)
        if code in NEWEST and version > NEWEST[code][OLD_RUNTIME] > 0
    }
