"""What is known of a sample between two pre-processing steps, and where its pixels came from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from edgeops.contracts.preprocess import ColorOrder
from edgeops.contracts.result import Box
from edgeops.inference.arrays import Array, Floats

IMAGE_AXES: Final = 3
"""Height, width, channels."""

GRAY_AXES: Final = 2

COLOR_CHANNELS: Final = 3

Operation = Callable[[Array], Array]
"""One compiled step; the result may be a buffer that the next call overwrites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How pixels of the image given became the tensor's: ``tensor = image * scale + offset``.

    Attributes:
        source: (width, height) of the image given, in pixels.
        size: (width, height) of the image as the model sees it.
        scale: Per axis.
        offset: Per axis, in pixels of the tensor.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def whole(cls, width: int, height: int) -> Self:
        """Return the geometry of an image that nothing was done to."""
        return cls(source=(width, height), size=(width, height))

    def resized(self, size: tuple[int, int]) -> "Geometry":
        """Return the geometry after stretching to ``size``."""
        x, y = size[0] / self.size[0], size[1] / self.size[1]
        return replace(
            self,
            size=size,
            scale=(self.scale[0] * x, self.scale[1] * y),
            offset=(self.offset[0] * x, self.offset[1] * y),
        )

    def moved(self, size: tuple[int, int], x: int, y: int) -> "Geometry":
        """Return the geometry after placing the image at (``x``, ``y``) on a canvas of ``size``."""
        return replace(self, size=size, offset=(self.offset[0] + x, self.offset[1] + y))

    def to_shares(self, boxes: Floats) -> Floats:
        """Return boxes in pixels of the tensor as shares of the image given, cut at its edges.

        Args:
            boxes: ``[n, 4]`` as x1, y1, x2, y2.

        Returns:
            ``[n, 4]`` in 0..1.
        """
        offset = np.array([*self.offset, *self.offset], dtype=np.float32)
        factor = np.array(
            [self.scale[0] * self.source[0], self.scale[1] * self.source[1]] * 2, dtype=np.float32
        )
        shares: Floats = np.clip((boxes - offset) / factor, 0.0, 1.0)
        return shares

    def box(self, row: Floats) -> Box:
        """Return one row of ``to_shares`` as a box."""
        x1, y1, x2, y2 = (float(value) for value in row)
        return (x1, y1, x2, y2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What arrives at a step.

    Attributes:
        shape: Of one array; with ``windows`` the first axis counts windows.
        dtype: Element type.
        color: Channel order of an image with three channels; ``gray`` for one; ``None`` where
            the sample is not an image.
        geometry: Of an image.
        windows: Whether the sample was cut into windows.
        shaped: Whether a ``reshape`` gave it the axis order that the manifest declares.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    color: ColorOrder | None = None
    geometry: Geometry | None = None
    windows: bool = False
    shaped: bool = False

    @property
    def rows(self) -> tuple[int, ...]:
        """Return the shape of what becomes one tensor."""
        return self.shape[1:] if self.windows else self.shape
