"""One clock is passed in: wall time is for people, monotonic time for durations."""

import time
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

ClockTrust = Literal["sync", "estimated", "bad"]
"""How far wall time can be believed: NTP-synchronised, plausible, or not at all."""

EARLIEST_PLAUSIBLE_S: Final = 1_767_225_600.0
"""2026-01-01 UTC: no device that runs this release can truly be earlier."""


class Clock(Protocol):
    """The two clocks of a device."""

    def wall(self) -> float:
        """Return seconds since 1970 UTC, as far as this device knows."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow while this machine is up."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        """Return seconds since 1970 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since boot."""
        return time.monotonic()


def iso(wall_s: float) -> str:
    """Return ``wall_s`` as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(wall_s, tz=UTC).isoformat(timespec="milliseconds")


def trust_of(wall_s: float) -> ClockTrust:
    """Return how far ``wall_s`` can be believed without asking the kernel."""
    return "estimated" if wall_s >= EARLIEST_PLAUSIBLE_S else "bad"
