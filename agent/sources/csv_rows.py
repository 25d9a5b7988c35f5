"""Rows of a sensor's CSV file: delimiter, header, times, and what is wrong with a row."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from edgeops.errors import SourceError

DELIMITERS: Final = (",", ";", "\t")
MAX_LINE: Final = 1 << 20
_SNIFFED: Final = 64 * 1024

BAD_ROW: Final = "bad_row"


@dataclass(frozen=True, slots=True)
class Row:
    """One good row.

    Attributes:
        t: Seconds as the time column says, or ``None`` without one.
        values: One number per wanted column.
    """

    t: float | None
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in a row."""

    delimiter: str
    width: int
    columns: tuple[int, ...]
    time: int | None


def read_layout(path: Path, columns: Sequence[str], time_column: str | None) -> Layout:
    """Find the delimiter and the wanted columns in the header.

    Raises:
        SourceError: Missing, empty, no header, or a wanted column is not in it.
    """
    try:
        with _open(path) as file:
            start = file.read(_SNIFFED)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    header_line = start.splitlines()[0] if start.strip() else ""
    if not header_line.strip():
        raise SourceError(f"{path} is empty, or its first line is not a header")
    delimiter = max(DELIMITERS, key=header_line.count)
    try:
        header = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter))]
    except csv.Error as error:
        raise SourceError(f"the header of {path} is not CSV: {error}") from error
    wanted = [*columns, *([] if time_column is None else [time_column])]
    missing = [name for name in wanted if name not in header]
    if missing:
        shown = ", ".join(header)[:200]
        raise SourceError(f"{path} has no column {missing[0]!r}; its columns are {shown}")
    return Layout(
        delimiter,
        len(header),
        tuple(header.index(name) for name in columns),
        None if time_column is None else header.index(time_column),
    )


def rows(path: Path, layout: Layout, drops: dict[str, int]) -> Iterator[Row]:
    """Yield the good rows; every other line counts as ``bad_row`` in ``drops``.

    Raises:
        SourceError: The file cannot be read any longer.
    """
    try:
        with _open(path) as file:
            reader = csv.reader(_whole_lines(file, drops), delimiter=layout.delimiter)
            next(reader, None)
            while True:
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error:  # a field that csv refuses, such as one of many megabytes
                    _count(drops)
                    continue
                if not cells:
                    continue
                row = _parse(cells, layout)
                if row is None:
                    _count(drops)
                else:
                    yield row
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def parse_time(text: str) -> float | None:
    """Return seconds from a number or an ISO 8601 time (UTC where no zone stands)."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    return seconds if math.isfinite(seconds) else None


def _parse(cells: Sequence[str], layout: Layout) -> Row | None:
    if len(cells) != layout.width:
        return None
    try:
        values = tuple(float(cells[i]) for i in layout.columns)
    except ValueError:
        return None
    if not all(math.isfinite(value) for value in values):
        return None
    if layout.time is None:
        return Row(None, values)
    t = parse_time(cells[layout.time])
    return None if t is None else Row(t, values)


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _whole_lines(file: TextIO, drops: dict[str, int]) -> Iterator[str]:
    """Yield lines of bounded length; NUL bytes and endless lines count as bad rows."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith("\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            _count(drops)
        elif "\0" in line or line.count('"') % 2:
            # An open quote would swallow the lines after it; sensor files need none.
            _count(drops)
        else:
            yield line


def _count(drops: dict[str, int]) -> None:
    drops[BAD_ROW] = drops.get(BAD_ROW, 0) + 1
