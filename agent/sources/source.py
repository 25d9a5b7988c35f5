"""The port that every source implements."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeops.errors import SourceError

ColorOrder = Literal["rgb", "bgr", "gray"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture or one window of sensor values.

    Attributes:
        t: Evidence time in seconds: place in the recording, or monotonic time of a live source.
        array: ``uint8[height, width, 3]`` or ``float32[samples]`` / ``float32[samples, columns]``.
        color: Channel order of a picture; ``None`` for sensors.
    """

    t: float
    array: NDArray[np.uint8] | NDArray[np.float32]
    color: ColorOrder | None = None


class StuckSourceError(SourceError):
    """A source cannot even be closed; the process that opened it has to end."""

    code = "source-stuck"


class Source(Protocol):
    """An opened source.

    Attributes:
        drops: Samples that were not delivered, by cause; the counts only grow.
        ended: Whether nothing more will ever come.
    """

    drops: dict[str, int]
    ended: bool

    def read(self, wait_s: float) -> Sample | None:
        """Return the next sample, or ``None`` where none came within ``wait_s`` seconds.

        Raises:
            SourceError: The source was lost; close it and open it anew.
        """
        ...

    def close(self) -> None:
        """Give back the camera or file; safe to call twice.

        Raises:
            StuckSourceError: It cannot be given back.
        """
        ...
