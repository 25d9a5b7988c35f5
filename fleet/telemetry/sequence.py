"""Which windows of a frame are new, and up to where a stream is whole. Pure.

Ranges are inclusive pairs of sequence numbers, which count from 1.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgeops.contracts.telemetry import Frame

Range = tuple[int, int]


def new_ranges(wanted: Range, stored: Sequence[Range]) -> list[Range]:
    """Return what of ``wanted`` no range of ``stored`` covers, ascending.

    Args:
        wanted: The windows of a frame.
        stored: Ranges that do not overlap each other, ascending.
    """
    fresh: list[Range] = []
    start, end = wanted
    for first, last in stored:
        if last < start or first > end:
            continue
        if first > start:
            fresh.append((start, first - 1))
        start = max(start, last + 1)
    if start <= end:
        fresh.append((start, end))
    return fresh


def extended(contiguous: int, stored: Sequence[Range]) -> int:
    """Return the highest number up to which nothing is missing.

    Args:
        contiguous: All up to here is stored or was given up.
        stored: Ranges beyond, ascending; one may begin below.
    """
    for first, last in stored:
        if first > contiguous + 1:
            break
        contiguous = max(contiguous, last)
    return contiguous


def trimmed(frame: Frame, kept: Range) -> Frame:
    """Return the part of ``frame`` with the windows ``kept``.

    A sketch is merged over all windows of its frame and cannot be divided, so a part has none:
    what it counted came with the part that is stored already.
    """
    low, high = kept[0] - frame.seq_from, kept[1] - frame.seq_from + 1
    columns = {name: column[low:high] for name, column in frame.columns.items()}
    return replace(
        frame,
        seq_from=kept[0],
        seq_to=kept[1],
        t0=next((t for t in columns["t"] if t is not None), frame.t0),
        columns=columns,
        labels={name: counts[low:high] for name, counts in frame.labels.items()},
        sketches={},
    )
