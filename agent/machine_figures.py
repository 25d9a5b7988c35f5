"""Figures of a process and of this machine from ``/proc`` and ``/sys``, where they are there."""

import os
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_THERMAL: Final = Path("/sys/class/thermal")


def figures(pid: int | None, thermal: Path = _THERMAL) -> dict[str, float]:
    """Return ``rss_bytes`` of process ``pid`` and ``cpu_c``, each where it can be read."""
    found: dict[str, float] = {}
    rss = None if pid is None else _rss_bytes(pid)
    if rss is not None:
        found["rss_bytes"] = float(rss)
    celsius = _cpu_celsius(thermal)
    if celsius is not None:
        found["cpu_c"] = celsius
    return found


def _rss_bytes(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def _cpu_celsius(thermal: Path) -> float | None:
    """Return the hottest thermal zone in degrees Celsius."""
    hottest: float | None = None
    for zone in thermal.glob("thermal_zone*/temp"):
        try:
            celsius = int(zone.read_text()) / 1000.0
        except (OSError, ValueError):
            continue
        if -50.0 < celsius < 200.0:  # noqa: PLR2004  # what a sensor that works can say
            hottest = celsius if hottest is None else max(hottest, celsius)
    return hottest
