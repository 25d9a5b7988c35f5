"""Padding of convolutions and pools: ONNX's explicit pads in TFLite's two words."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from converters.graph import Node


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window over the two image axes; all pairs are (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads_before: tuple[int, int]
    pads_after: tuple[int, int]

    @property
    def is_padded(self) -> bool:
        """Whether anything is padded at all."""
        return any((*self.pads_before, *self.pads_after))

    def output(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the output size for an image of ``size``, rounded down as ONNX does."""
        height, width = (
            (n + before + after - (k - 1) * d - 1) // s + 1
            for n, before, after, k, d, s in zip(
                size,
                self.pads_before,
                self.pads_after,
                self.kernel,
                self.dilation,
                self.stride,
                strict=True,
            )
        )
        return height, width

    def reaching(self, size: tuple[int, int], output: tuple[int, int]) -> "Window":
        """Return the window with as many pads at the end as ``output`` asks for (ceil_mode)."""
        missing = [
            max((o - 1) * s + (k - 1) * d + 1 - n - before - after, 0)
            for o, s, k, d, n, before, after in zip(
                output,
                self.stride,
                self.kernel,
                self.dilation,
                size,
                self.pads_before,
                self.pads_after,
                strict=True,
            )
        ]
        after = (self.pads_after[0] + missing[0], self.pads_after[1] + missing[1])
        return replace(self, pads_after=after)

    def counts(
        self, size: tuple[int, int], output: tuple[int, int], *, with_pads: bool
    ) -> npt.NDArray[np.int64]:
        """Return of how many elements each output is the mean, ``(height, width)`` int64.

        Args:
            size: Of the image.
            output: Height and width of the result.
            with_pads: Whether the pads count; what ``reaching`` adds never does.
        """
        found = []
        for axis in (0, 1):
            first = np.arange(output[axis]) * self.stride[axis] - self.pads_before[axis]
            places = first[:, None] + np.arange(self.kernel[axis]) * self.dilation[axis]
            low = -self.pads_before[axis] if with_pads else 0
            high = size[axis] + (self.pads_after[axis] if with_pads else 0)
            found.append(np.sum((places >= low) & (places < high), axis=1))
        return np.asarray(np.outer(*found), np.int64)

    def is_same(self, size: tuple[int, int]) -> bool:
        """Whether TFLite's SAME means exactly these pads: it puts the odd pixel at the end."""
        for n, k, s, d, before, after in zip(
            size,
            self.kernel,
            self.stride,
            self.dilation,
            self.pads_before,
            self.pads_after,
            strict=True,
        ):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            if (before, after) != (total // 2, total - total // 2):
                return False
        return True


def pair(node: Node, name: str, values: tuple[int, ...]) -> tuple[int, int]:
    """Return ``values`` as (height, width), or refuse a window that is not 2-D."""
    match values:
        case (height, width):
            return height, width
    raise node.refuse(f"{name} is not two-dimensional")


def window_of(
    node: Node,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
) -> Window:
    """Return the window that a node's attributes describe, or refuse it."""
    match pads:
        case (top, left, bottom, right) if min(pads) >= 0:
            before, after = (top, left), (bottom, right)
        case _:
            raise node.refuse(f"pads {pads} are not supported")
    return Window(
        kernel=pair(node, "kernel_shape", kernel),
        stride=pair(node, "strides", strides),
        dilation=pair(node, "dilations", dilations),
        pads_before=before,
        pads_after=after,
    )
