"""Recordings: played as fast as they are consumed, or at their own speed like a live source."""

import threading
from collections.abc import Callable, Iterator
from typing import Final

from agent.sources.source import Sample
from edgeops.clock import Clock

MAX_LATE_S: Final = 0.25
"""A sample that is later than this, while the next is also due, is dropped and counted."""


class Recording:
    """A source made from something that can be read from its start again and again.

    Args:
        start: Gives the samples of one pass, with ``t`` as the recording says. The dictionary it
            receives takes the counts of what was skipped, by cause.
        period_s: Time between the last sample of a pass and the first of the next.
        realtime: Deliver each sample when it is due.
        loop: Start over at the end; evidence time goes on growing.
    """

    def __init__(
        self,
        start: Callable[[dict[str, int]], Iterator[Sample]],
        *,
        period_s: float,
        realtime: bool,
        loop: bool,
        clock: Clock,
    ) -> None:
        self.drops: dict[str, int] = {}
        self.ended = False
        self._start = start
        self._period_s = period_s
        self._realtime = realtime
        self._loop = loop
        self._clock = clock
        self._samples = start(self.drops)
        self._next: Sample | None = None
        self._offset_s = 0.0
        self._pass: tuple[float, float] | None = None
        self._epoch_s: float | None = None
        self._sleep = threading.Event()

    def read(self, wait_s: float) -> Sample | None:
        """Return the next sample; at its due time where ``realtime``."""
        if self._next is None:
            self._next = self._advance()
        if self._next is None or not self._realtime:
            sample, self._next = self._next, None
            return sample
        return self._read_when_due(wait_s)

    def close(self) -> None:
        """Stop reading."""
        self.ended = True
        self._next = None
        self._samples = iter(())

    def _read_when_due(self, wait_s: float) -> Sample | None:
        sample = self._next
        now = self._clock.monotonic()
        while sample is not None:
            if self._epoch_s is None:
                self._epoch_s = now - sample.t
            late_s = now - (self._epoch_s + sample.t)
            if late_s < 0:
                break
            self._next = self._advance()
            if late_s <= MAX_LATE_S or self._next is None:
                return sample
            if self._epoch_s + self._next.t > now:
                return sample
            self.drops["late"] = self.drops.get("late", 0) + 1
            sample = self._next
        if sample is None or self._epoch_s is None:
            return None
        self._sleep.wait(min(wait_s, self._epoch_s + sample.t - now))
        if self._clock.monotonic() < self._epoch_s + sample.t:
            return None
        self._next = None
        return sample

    def _advance(self) -> Sample | None:
        """Return the next sample with growing evidence time; ``None`` at the end."""
        for attempt in range(2):
            sample = next(self._samples, None)
            if sample is not None:
                first, _ = self._pass or (sample.t, sample.t)
                self._pass = (first, sample.t)
                if self._offset_s:
                    return Sample(sample.t + self._offset_s, sample.array, sample.color)
                return sample
            if not self._loop or self._pass is None or attempt:
                break
            first, last = self._pass
            self._offset_s += last - first + self._period_s
            self._pass = None
            self._samples = self._start(self.drops)
        self.ended = True
        return None
