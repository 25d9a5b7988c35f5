"""The same few samples over and over, as fast as they are taken: for measuring the pipe."""

from pathlib import Path
from typing import Final

import numpy as np

from agent.sources.options import RepeatOptions
from agent.sources.source import Sample
from edgeops.errors import SourceError

PERIOD_S: Final = 0.1
_PICTURE_AXES: Final = 3


class Repeat:
    """Reads the arrays once; never ends."""

    def __init__(self, options: RepeatOptions) -> None:
        self.drops: dict[str, int] = {}
        self.ended = False
        try:
            with np.load(Path(options.path), allow_pickle=False) as file:
                self._arrays = list(file["x"])
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"cannot read samples from {options.path}: {error}") from error
        if not self._arrays:
            raise SourceError(f"{options.path} holds no sample")
        self._number = 0

    def read(self, wait_s: float) -> Sample | None:  # noqa: ARG002  # there is always one
        """Return the next sample."""
        array = self._arrays[self._number % len(self._arrays)]
        self._number += 1
        is_picture = array.dtype == np.uint8 and array.ndim == _PICTURE_AXES
        return Sample(self._number * PERIOD_S, array, "bgr" if is_picture else None)

    def close(self) -> None:
        """Hold nothing."""
