"""Pictures of a folder, in the order of their names."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from agent.sources.options import ImagesOptions
from agent.sources.recording import Recording
from agent.sources.source import Sample
from edgeops.clock import Clock
from edgeops.errors import SourceError

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp"})
MAX_IMAGE_BYTES: Final = 64 << 20


def open_images(options: ImagesOptions, clock: Clock) -> Recording:
    """Open a folder of pictures; ``t`` is the picture's number divided by ``fps``.

    Raises:
        SourceError: The folder is missing or holds no picture.
    """
    folder = Path(options.path)
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise SourceError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    if not paths:
        raise SourceError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return Recording(
        lambda drops: _pictures(paths, options.fps, drops),
        period_s=1.0 / options.fps,
        realtime=options.realtime,
        loop=options.loop,
        clock=clock,
    )


def _pictures(paths: Sequence[Path], fps: float, drops: dict[str, int]) -> Iterator[Sample]:
    for number, path in enumerate(paths):
        picture = _decode(path)
        if picture is None:
            drops["bad_image"] = drops.get("bad_image", 0) + 1
        else:
            yield picture_sample(number / fps, picture)


def picture_sample(t: float, picture: cv2.typing.MatLike) -> Sample:
    """Return a decoded picture as a sample."""
    return Sample(t, picture.astype(np.uint8, copy=False), "bgr")


def _decode(path: Path) -> cv2.typing.MatLike | None:
    try:
        if not 0 < path.stat().st_size <= MAX_IMAGE_BYTES:
            return None
        data = np.fromfile(path, dtype=np.uint8)
    except OSError:
        return None
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # a header that promises more pixels than OpenCV accepts
        return None
