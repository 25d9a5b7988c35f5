"""A live camera through OpenCV: the latest frame wins, a lost camera is opened anew."""

import threading
from typing import Final

import cv2
import numpy as np

from agent.sources.options import CameraOptions
from agent.sources.redact import redacted
from agent.sources.source import Sample, StuckSourceError
from edgeops.clock import Clock
from edgeops.errors import SourceError

OPEN_TIMEOUT_S: Final = 10.0
JOIN_TIMEOUT_S: Final = 2.0


class Camera:
    """Reads in a thread of its own, so that a frame never waits in a queue.

    The thread ends with the camera: ``read`` raises ``SourceError`` once, and whoever owns the
    source closes it and opens a new one with a growing pause.
    """

    def __init__(self, options: CameraOptions, clock: Clock) -> None:
        self.drops: dict[str, int] = {}
        self.ended = False
        self._options = options
        self._clock = clock
        self._name = redacted(options.device)
        self._changed = threading.Condition()
        self._latest: Sample | None = None
        self._lost: str | None = None
        self._seen_at = clock.monotonic()
        self._closing = False
        self._capture = self._open()
        self._thread = threading.Thread(target=self._grab, name="camera", daemon=True)
        self._thread.start()

    def read(self, wait_s: float) -> Sample | None:
        """Return the newest frame that was not delivered yet.

        Raises:
            SourceError: The camera ended, or sent nothing for the time ``stall``.
        """
        with self._changed:
            if self._latest is None and self._lost is None:
                self._changed.wait(wait_s)
            if self._latest is not None:
                sample, self._latest = self._latest, None
                return sample
            if self._lost is not None:
                raise SourceError(self._lost)
            if self._clock.monotonic() - self._seen_at > self._options.stall:
                raise SourceError(
                    f"the camera {self._name} sent no frame for {self._options.stall:g} s"
                )
        return None

    def close(self) -> None:
        """Stop the thread, which gives the camera back.

        Raises:
            StuckSourceError: The driver does not return; only the end of the process frees it.
        """
        with self._changed:
            self._closing = True
            self.ended = True
        self._thread.join(JOIN_TIMEOUT_S)
        if self._thread.is_alive():
            raise StuckSourceError(f"the camera {self._name} is blocked in its driver")

    def _open(self) -> cv2.VideoCapture:
        options = self._options
        milliseconds = int(OPEN_TIMEOUT_S * 1000)
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            milliseconds,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            max(1000, int(options.stall * 1000)),
        ]
        try:
            if "://" in options.device:
                capture = cv2.VideoCapture(options.device, cv2.CAP_FFMPEG, timeouts)
            elif options.device.isdigit():
                capture = cv2.VideoCapture(int(options.device), cv2.CAP_ANY)
            else:
                capture = cv2.VideoCapture(options.device, cv2.CAP_ANY)
        except cv2.error as error:
            raise SourceError(f"cannot open the camera {self._name}: {error}") from error
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"cannot open the camera {self._name}")
        # Drivers that know these obey; the others ignore them.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if options.width is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
        if options.height is not None:
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
        if options.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, options.fps)
        return capture

    def _grab(self) -> None:
        gap_s = 0.0 if self._options.fps is None else 1.0 / self._options.fps
        due = 0.0
        try:
            while not self._closing:
                whole, frame = self._capture.read()
                now = self._clock.monotonic()
                if not whole or frame is None:
                    self._lose(f"the camera {self._name} stopped sending")
                    return
                self._seen_at = now
                if now < due:
                    continue
                due = max(due + gap_s, now)
                self._publish(Sample(now, frame.astype(np.uint8, copy=False), "bgr"))
        except cv2.error as error:
            self._lose(f"the camera {self._name} failed: {error}")
        finally:
            self._capture.release()

    def _publish(self, sample: Sample) -> None:
        with self._changed:
            if self._latest is not None:
                self.drops["overrun"] = self.drops.get("overrun", 0) + 1
            self._latest = sample
            self._changed.notify()

    def _lose(self, reason: str) -> None:
        with self._changed:
            self._lost = reason
            self._changed.notify()
