"""How long one inference takes, and how much memory the process needed at most."""

import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgeops.clock import Clock

WARM_UP: Final = 3
MIN_RUNS: Final = 5
MAX_RUNS: Final = 100_000


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
    p50, p95 = (float(value) * 1000 for value in np.percentile(times, [50, 95]))
    return Latency(p50=p50, p95=p95, runs=len(times))


def peak_rss_bytes() -> int:
    """Return the most memory this process has had at any time."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
