"""Frames of a video file."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from agent.sources.options import VideoOptions
from agent.sources.recording import Recording
from agent.sources.source import Sample
from edgeops.clock import Clock
from edgeops.errors import SourceError

FALLBACK_FPS = 25.0


def open_video(options: VideoOptions, clock: Clock) -> Recording:
    """Open a video file; ``t`` is the frame's number divided by the file's frame rate.

    Raises:
        SourceError: Missing, empty, or not a video.
    """
    path = Path(options.path)
    _check_file(path)
    fps = _first_frame_rate(path)
    return Recording(
        lambda drops: _frames(path, fps, drops),
        period_s=1.0 / fps,
        realtime=options.realtime,
        loop=options.loop,
        clock=clock,
    )


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise SourceError(f"{path} is empty, not a video")
    except OSError as error:
        raise SourceError(f"cannot read the video {path}: {error.strerror or error}") from error


def _first_frame_rate(path: Path) -> float:
    """Return frames per second after proving that the first frame can be decoded."""
    capture = _capture(path)
    try:
        whole, frame = capture.read()
        if not whole or frame is None:
            raise SourceError(f"{path} is not a video, or holds no frame that can be decoded")
        fps = capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    return fps if np.isfinite(fps) and 0.0 < fps <= 1000.0 else FALLBACK_FPS  # noqa: PLR2004


def _capture(path: Path) -> cv2.VideoCapture:
    try:
        return cv2.VideoCapture(str(path.resolve()))
    except cv2.error as error:
        raise SourceError(f"{path} is not a video: {error}") from error


def _frames(path: Path, fps: float, drops: dict[str, int]) -> Iterator[Sample]:
    capture = _capture(path)
    try:
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        number = 0
        while True:
            whole, frame = capture.read()
            if not whole or frame is None:
                break
            yield Sample(number / fps, frame.astype(np.uint8, copy=False), "bgr")
            number += 1
        # Containers often announce a frame or two too many; more than that was lost.
        if announced > number * 1.02 + 2:
            drops["undecodable"] = drops.get("undecodable", 0) + announced - number
    finally:
        capture.release()
