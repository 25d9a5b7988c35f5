"""How long one inference takes, and how much memory the process needed at most."""

import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgeops.clock import Clock

WARM_UP: Final = 3
MIN_RUNS: Final = 5
MAX_RUNS: Final = 100_000
TURN_SECONDS: Final = 0.02
"""One call's turn: long enough for its caches to be warm, short against what disturbs."""
MIN_TURN_SECONDS: Final = 1e-6
"""What a call counts at least, so that a turn ends where the clock stands still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds per call."""

    p50: float
    p95: float
    runs: int

    def figures(self) -> dict[str, float]:
        """Return the figures for documents."""
        return {"p50": round(self.p50, 4), "p95": round(self.p95, 4)}


def time_calls(call: Callable[[], object], clock: Clock, *, seconds: float) -> Latency:
    """Call again and again for about ``seconds``; at least ``MIN_RUNS`` times."""
    for _ in range(WARM_UP):
        call()
    times: list[float] = []
    end = clock.monotonic() + seconds
    while len(times) < MIN_RUNS or (clock.monotonic() < end and len(times) < MAX_RUNS):
        start = clock.monotonic()
        call()
        times.append(clock.monotonic() - start)
    return _latency(times)


def time_interleaved(
    calls: Sequence[Callable[[], object]], clock: Clock, *, seconds: float
) -> list[Latency]:
    """Time several calls in turns, so that a busy moment of the machine meets them all.

    Args:
        calls: What to time.
        clock: For durations.
        seconds: How long each of them is called in all; at least ``MIN_RUNS`` times.

    Returns:
        Milliseconds, one figure for each of ``calls``.
    """
    for call in calls:
        for _ in range(WARM_UP):
            call()
    times: list[list[float]] = [[] for _ in calls]
    spent = [0.0] * len(calls)
    while any(
        len(done) < MIN_RUNS or (total < seconds and len(done) < MAX_RUNS)
        for done, total in zip(times, spent, strict=True)
    ):
        for number, call in enumerate(calls):
            turn = 0.0
            while turn < TURN_SECONDS:
                start = clock.monotonic()
                call()
                took = clock.monotonic() - start
                times[number].append(took)
                turn += max(took, MIN_TURN_SECONDS)
            spent[number] += turn
    return [_latency(done) for done in times]


def _latency(times: Sequence[float]) -> Latency:
    p50, p95 = (float(value) * 1000 for value in np.percentile(times, [50, 95]))
    return Latency(p50=p50, p95=p95, runs=len(times))


def peak_rss_bytes() -> int:
    """Return the most memory this process has had at any time."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
