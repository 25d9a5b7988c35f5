"""One page of memory that a pipe and its supervisor share: which stage, since which beat.

The pipe writes it without a system call, so that a pipe that hangs inside a delegate, a driver
or a stopped process is told from one that waits for its camera.
"""

import mmap
import os
import struct
from enum import IntEnum
from typing import Final, NamedTuple

_LAYOUT: Final = struct.Struct("<QI")
_SIZE: Final = mmap.PAGESIZE

LEAST_LIMIT_S: Final = 5.0
LOAD_LIMIT_S: Final = 60.0
P99_FACTOR: Final = 10.0


class Stage(IntEnum):
    """Where a pipe is; crosses by number within one release, never to disk or wire."""

    START = 0
    WAIT = 1
    READ = 2
    INFER = 3
    EMIT = 4
    LOAD = 5


class Beat(NamedTuple):
    """The stage of now, and the how-manieth stage entered it is."""

    number: int
    stage: Stage


class Heartbeat:
    """The shared page; made by the supervisor, opened by the pipe from the inherited descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, _SIZE)
        self._count = 0

    @staticmethod
    def new_descriptor() -> int:
        """Return a new anonymous file of one page, not inherited unless passed on purpose."""
        descriptor = os.memfd_create("edgeops-heartbeat", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _SIZE)
        return descriptor

    def enter(self, stage: Stage) -> None:
        """Say that ``stage`` begins now (pipe)."""
        self._count += 1
        _LAYOUT.pack_into(self._map, 0, self._count, stage)

    def read(self) -> Beat:
        """Return the last beat (supervisor)."""
        count, stage = _LAYOUT.unpack_from(self._map, 0)
        return Beat(count, Stage(stage))

    def close(self) -> None:
        """Give the page back."""
        self._map.close()


def limit_s(stage: Stage, p99_s: float) -> float:
    """Return how long one beat may last, in seconds.

    Args:
        stage: Where the pipe is.
        p99_s: 99th percentile of an inference so far.
    """
    if stage in {Stage.LOAD, Stage.START}:
        return LOAD_LIMIT_S
    return max(P99_FACTOR * p99_s, LEAST_LIMIT_S)


class StuckJudge:
    """Tells from beats and time whether a pipe is stuck; knows no clock and no process."""

    def __init__(self, now_s: float) -> None:
        self._last: Beat | None = None
        self._since_s = now_s

    def is_stuck(self, beat: Beat, now_s: float, p99_s: float, *, heard: bool = False) -> bool:
        """Return whether the same beat has lasted longer than its stage may.

        Args:
            beat: The pipe's beat of now.
            now_s: Monotonic seconds.
            p99_s: 99th percentile of an inference so far.
            heard: A message was read just now: a pipe in ``EMIT`` was waiting for its supervisor,
                which is not its fault. With nothing to read it waits for nobody.
        """
        if beat != self._last or (heard and beat.stage is Stage.EMIT):
            self._last, self._since_s = beat, now_s
            return False
        return now_s - self._since_s > limit_s(beat.stage, p99_s)
