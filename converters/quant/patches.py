"""What a layer multiplies its weights with: input patches as rows of a matrix."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from converters.arrays import Array, Floats
from converters.graph import Graph, Node

MAX_COLUMNS: Final = 640
"""Widest patch: 64 channels under a 3x3 kernel, or 640 inputs of a dense layer."""

PLACES: Final = 128
"""Patches taken of one sample, evenly spread over the output."""

_IMAGE_RANK: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """How patches are cut from a layer's input.

    Attributes:
        columns: Inputs of one output channel.
        groups: 1, or the number of channels of a depthwise convolution.
        kernel, strides, dilations, pads: As ONNX has them, for images; ``(1, 1)`` and
            zeros for dense layers.
    """

    columns: int
    groups: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    def cut(self, value: Array) -> Floats:
        """Return ``(groups, places, columns)`` of one sample.

        Args:
            value: The layer's input, ``(1, channels, height, width)`` or ``(rows, columns)``.
        """
        if value.ndim != _IMAGE_RANK:
            rows = value.reshape(-1, self.columns)
            return rows[:: max(1, len(rows) // PLACES)][None].astype(np.float32)
        top, left, bottom, right = self.pads
        image = np.pad(value[0], ((0, 0), (top, bottom), (left, right)))
        height, width = (
            (image.shape[1 + i] - self.dilations[i] * (self.kernel[i] - 1) - 1) // self.strides[i]
            + 1
            for i in (0, 1)
        )
        step = max(1, height * width // PLACES) | 1
        places = np.arange(0, height * width, step)
        y = (places // width)[:, None] * self.strides[0] + np.arange(
            self.kernel[0]
        ) * self.dilations[0]
        x = (places % width)[:, None] * self.strides[1] + np.arange(
            self.kernel[1]
        ) * self.dilations[1]
        # (channels, places, kernel height, kernel width)
        patches = image[:, y[:, :, None], x[:, None, :]].astype(np.float32)
        if self.groups > 1:
            return patches.reshape(self.groups, places.size, self.columns)
        return patches.transpose(1, 0, 2, 3).reshape(1, places.size, self.columns)


def patches_of(graph: Graph, node: Node) -> Patches | None:
    """Return how to cut the input of ``node``, or ``None`` if that is not worth it here.

    Convolutions in few groups, and layers whose patches are very wide, are left out.
    """
    weights = graph.shape(node.inputs[1])
    if node.op == "Gemm":
        return Patches(columns=weights[1], groups=1) if weights[1] <= MAX_COLUMNS else None
    shape = graph.shape(node.inputs[0])
    if len(shape) != _IMAGE_RANK or shape[0] != 1:
        return None
    groups = node.attributes.get("group", 1)
    if not isinstance(groups, int) or groups not in (1, shape[1]):
        return None
    columns = weights[1] * weights[2] * weights[3]
    if columns > MAX_COLUMNS or node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    strides = _numbers(node, "strides", (1, 1))
    dilations = _numbers(node, "dilations", (1, 1))
    pads = _numbers(node, "pads", (0, 0, 0, 0))
    return Patches(
        columns=columns,
        groups=groups,
        kernel=(weights[2], weights[3]),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        pads=(pads[0], pads[1], pads[2], pads[3]),
    )


def _numbers(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = node.attributes.get(name, default)
    return tuple(int(v) for v in value) if isinstance(value, tuple) else default
