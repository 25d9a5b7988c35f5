"""Convolutions and dense layers: TFLite's weights and paddings in ONNX's form."""

from typing import Final

import numpy as np

from converters.arrays import as_ints
from converters.importing.tflite.build import CHANNELS_FIRST, Builder
from converters.importing.tflite.file import FileOperator
from converters.tflite.layout import Perm, identity

SAME: Final = 0
_FILTER_OIHW: Final[Perm] = (0, 3, 1, 2)
_FILTER_IOHW: Final[Perm] = (3, 0, 1, 2)
_IMAGE: Final = 4
_MATRIX: Final = 2


def same_pads(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the padding before and after an axis that makes SAME: the odd one comes last.

    Source: tensorflow/lite/kernels/padding.h.
    """
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def strides_of(operator: FileOperator) -> tuple[int, int]:
    """Return height and width strides, both at least 1."""
    strides = int(operator.options["stride_h"]), int(operator.options["stride_w"])
    if min(strides) < 1:
        raise operator.refuse(f"strides {strides} are not positive")
    return strides


def require_rank(operator: FileOperator, shape: tuple[int, ...], rank: int) -> None:
    """Refuse ``operator`` unless its tensor has ``rank`` axes."""
    if len(shape) != rank:
        raise operator.refuse(f"its tensor is {list(shape)}, expected {rank} axes")


def convolution(build: Builder, operator: FileOperator) -> None:
    """CONV_2D: weights OHWI, grouped where they see fewer channels than the input has."""
    weights = build.tensor(operator, 1).shape
    image = build.tensor(operator, 0).shape
    require_rank(operator, weights, _IMAGE)
    require_rank(operator, image, _IMAGE)
    if weights[3] < 1 or image[3] % weights[3]:
        raise operator.refuse(f"{image[3]} channels do not divide into {weights[3]}")
    _convolve(build, operator, _FILTER_OIHW, image[3] // weights[3])


def depthwise(build: Builder, operator: FileOperator) -> None:
    """DEPTHWISE_CONV_2D: weights (1, H, W, channels x multiplier)."""
    weights = build.tensor(operator, 1).shape
    image = build.tensor(operator, 0).shape
    require_rank(operator, weights, _IMAGE)
    require_rank(operator, image, _IMAGE)
    if weights[0] != 1 or image[3] < 1 or weights[3] % image[3]:
        raise operator.refuse(f"weights {list(weights)} do not fit {image[3]} channels")
    _convolve(build, operator, _FILTER_IOHW, image[3])


def _convolve(build: Builder, operator: FileOperator, order: Perm, group: int) -> None:
    image = build.tensor(operator, 0).shape
    weights = build.tensor(operator, 1).shape
    kernel = weights[1:3]
    strides = strides_of(operator)
    dilation = (
        int(operator.options["dilation_h_factor"]),
        int(operator.options["dilation_w_factor"]),
    )
    if min(dilation) < 1:
        raise operator.refuse(f"dilations {dilation} are not positive")
    pads = _explicit_pads(operator)
    if operator.options["padding"] == SAME:
        pads = (
            same_pads(image[1], kernel[0], strides[0], dilation[0]),
            same_pads(image[2], kernel[1], strides[1], dilation[1]),
        )
    _emit_convolution(
        build, operator, order=order, group=group, strides=strides, dilation=dilation, pads=pads
    )


def _explicit_pads(operator: FileOperator) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding of a convolution that ``dilation`` joined, else none."""
    top, bottom, left, right = (
        int(operator.options.get(f"pad_{side}", 0)) for side in ("top", "bottom", "left", "right")
    )
    return (top, bottom), (left, right)


def _emit_convolution(
    build: Builder,
    operator: FileOperator,
    *,
    order: Perm,
    group: int,
    strides: tuple[int, int],
    dilation: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    """Write a Conv with the padding ``((top, bottom), (left, right))``."""
    inputs = [
        build.read(operator, 0, CHANNELS_FIRST).name,
        build.read(operator, 1, order).name,
    ]
    if build.has(operator, 2):
        inputs.append(build.read(operator, 2, (0,)).name)
    made = build.emit(
        "Conv",
        inputs,
        {
            "kernel_shape": build.tensor(operator, 1).shape[1:3],
            "strides": strides,
            "dilations": dilation,
            "pads": (pads[0][0], pads[1][0], pads[0][1], pads[1][1]),
            "group": group,
        },
    )
    build.write(operator, made[0], CHANNELS_FIRST)


def transposed_convolution(build: Builder, operator: FileOperator) -> None:
    """TRANSPOSE_CONV: inputs are the output's shape, weights OHWI, the image, and a bias."""
    weights, image = build.tensor(operator, 1).shape, build.tensor(operator, 2).shape
    require_rank(operator, weights, _IMAGE)
    require_rank(operator, image, _IMAGE)
    wanted = as_ints(build.constant(operator, 0))
    require_rank(operator, wanted, _IMAGE)
    strides = strides_of(operator)
    begin, end, extra = [], [], []
    for axis in (1, 2):
        stride, kernel = strides[axis - 1], weights[axis]
        before = 0
        if operator.options["padding"] == SAME:
            total = max((-(-wanted[axis] // stride) - 1) * stride + kernel - wanted[axis], 0)
            before = total // 2
        after = (image[axis] - 1) * stride + kernel - wanted[axis] - before
        if -after >= stride:
            raise operator.refuse(f"an output of {list(wanted)} cannot be reached")
        begin.append(before)
        end.append(max(after, 0))
        extra.append(max(-after, 0))
    inputs = [
        build.read(operator, 2, CHANNELS_FIRST).name,
        build.read(operator, 1, _FILTER_IOHW).name,
    ]
    if build.has(operator, 3):
        inputs.append(build.read(operator, 3, (0,)).name)
    made = build.emit(
        "ConvTranspose",
        inputs,
        {
            "kernel_shape": weights[1:3],
            "strides": strides,
            "pads": tuple(begin + end),
            "output_padding": tuple(extra),
        },
    )
    build.write(operator, made[0], CHANNELS_FIRST)


def fully_connected(build: Builder, operator: FileOperator) -> None:
    """FULLY_CONNECTED: everything but the last axis is batch; weights (outputs, inputs)."""
    if operator.options["weights_format"] != 0:
        raise operator.refuse("its weights are shuffled for one processor")
    weights = build.tensor(operator, 1).shape
    require_rank(operator, weights, _MATRIX)
    source = build.read_flat(operator)
    shape = source.shape
    name = source.name
    flat = (int(np.prod(shape)) // max(weights[1], 1), weights[1])
    if int(np.prod(shape)) != flat[0] * flat[1]:
        raise operator.refuse(f"input {list(shape)} does not fit weights {list(weights)}")
    if source.stored_shape != flat:
        name = build.reshape(name, flat)
    inputs = [name, build.read(operator, 1, (0, 1)).name]
    if build.has(operator, 2):
        inputs.append(build.read(operator, 2, (0,)).name)
    made = build.emit("Gemm", inputs, {"transB": 1})[0]
    target = build.target(operator).shape
    wanted = (*shape[:-1], weights[0]) if operator.options["keep_num_dims"] else target
    if len(wanted) != _MATRIX or wanted != (flat[0], weights[0]):
        made = build.reshape(made, wanted)
    build.write(operator, made, identity(len(wanted)))


def batch_matmul(build: Builder, operator: FileOperator) -> None:
    """BATCH_MATMUL, either side turned where ``adj_x`` or ``adj_y`` says so."""
    names = []
    for index, turned in enumerate(("adj_x", "adj_y")):
        shape = build.tensor(operator, index).shape
        order = list(identity(len(shape)))
        if len(shape) < _MATRIX:
            raise operator.refuse(f"its input is {list(shape)}")
        if operator.options[turned]:
            order[-2:] = order[-1], order[-2]
        names.append(build.read(operator, index, tuple(order)).name)
    made = build.emit("MatMul", names)[0]
    build.write(operator, made, identity(len(build.target(operator).shape)))
