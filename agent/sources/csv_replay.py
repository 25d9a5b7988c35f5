"""A recorded sensor as windows of samples; a hole in time starts a new window."""

import itertools
import statistics
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from agent.sources.csv_rows import BAD_ROW, Layout, Row, read_layout, rows
from agent.sources.options import CsvOptions
from agent.sources.recording import Recording
from agent.sources.source import Sample
from edgeops.clock import Clock

GAP_PERIODS: Final = 3.5
"""Rows further apart than this many periods do not belong to one window. Two rows in succession
may be bad without tearing a window."""


def open_csv(options: CsvOptions, clock: Clock) -> Recording:
    """Open a CSV file as a source of windows.

    A window's ``t`` is the time of its last row, in seconds of the time column (ISO times as
    seconds since 1970), or the row's number divided by ``rate_hz``.

    Raises:
        SourceError: Missing, empty, or a column is not in the header.
    """
    path = Path(options.path)
    layout = read_layout(path, options.columns, options.time_column)
    step = options.step or options.window
    return Recording(
        lambda drops: _windows(path, layout, options, drops),
        period_s=step / options.rate_hz if options.rate_hz else _first_period(path, layout),
        realtime=options.realtime,
        loop=options.loop,
        clock=clock,
    )


def _first_period(path: Path, layout: Layout) -> float:
    """Return the usual distance of the first rows in seconds."""
    times: list[float] = []
    for row in rows(path, layout, {}):
        if row.t is not None:
            times.append(row.t)
        if len(times) > 32:  # noqa: PLR2004  # plenty for a median
            break
    distances = [b - a for a, b in itertools.pairwise(times) if b > a]
    return statistics.median(distances) if distances else 1.0


class _Timeline:
    """Gives each row its time and says where a window is torn."""

    def __init__(self, rate_hz: float | None, drops: dict[str, int]) -> None:
        self._rate_hz = rate_hz
        self._drops = drops
        self._distances: deque[float] = deque(maxlen=31)
        self._last: float | None = None
        self._number = 0

    def place(self, row: Row) -> tuple[float, bool] | None:
        """Return (time, torn from the row before), or ``None`` for a row that goes back in time."""
        if row.t is None:
            t = self._number / self._rate_hz if self._rate_hz else float(self._number)
            self._number += 1
            return t, False
        last, self._last = self._last, row.t
        if last is None:
            return row.t, False
        distance = row.t - last
        if distance <= 0.0:
            self._last = last
            self._count(BAD_ROW)
            return None
        torn = False
        period = self._period()
        if period is not None and distance > GAP_PERIODS * period:
            self._count("gap")
            torn = True
        self._distances.append(distance)
        return row.t, torn

    def _period(self) -> float | None:
        if self._rate_hz is not None:
            return 1.0 / self._rate_hz
        return statistics.median(self._distances) if self._distances else None

    def _count(self, cause: str) -> None:
        self._drops[cause] = self._drops.get(cause, 0) + 1


def _windows(
    path: Path, layout: Layout, options: CsvOptions, drops: dict[str, int]
) -> Iterator[Sample]:
    size, step = options.window, options.step or options.window
    width = len(options.columns)
    timeline = _Timeline(options.rate_hz, drops)
    held: deque[tuple[float, ...]] = deque(maxlen=size)
    missing = size
    for row in rows(path, layout, drops):
        placed = timeline.place(row)
        if placed is None:
            continue
        t, torn = placed
        if torn:
            held.clear()
            missing = size
        held.append(row.values)
        missing -= 1
        if missing == 0:
            array = np.array(held, dtype=np.float32)
            yield Sample(t, array[:, 0] if width == 1 else array)
            missing = step
