"""Pure: stored windows to frames that fit into one message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgeops import codec
from edgeops.clock import trust_of
from edgeops.contracts.telemetry import MAX_FRAME_BYTES, MAX_WINDOWS, Frame, Window, columns_of

MAX_WINDOW_BYTES: Final = 32 * 1024
"""Largest window that is stored: one alone always fits into a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Windows of one stream and boot that are held: ``low`` to ``high`` without a gap.

    Attributes:
        stream_id: Key within this database.
        shed: Windows of it given up so far.
    """

    stream_id: int
    boot: str
    stream: str
    low: int
    high: int
    shed: int = 0


@dataclass(frozen=True, slots=True)
class PackedFrame:
    """A frame and its bytes on the wire."""

    frame: Frame
    data: bytes


def pack(device: str, span: Span, first: int, windows: Sequence[Window]) -> PackedFrame | None:
    """Return the longest frame that starts at ``first`` and fits into one message.

    Args:
        device: Device id.
        span: What is held of this stream; gives ``base`` and ``shed``.
        first: Sequence number of ``windows[0]``.
        windows: Consecutive windows.

    Returns:
        ``None`` where there are no windows.
    """
    count = _alike(windows[:MAX_WINDOWS])
    while count:
        columns, labels, sketches = columns_of(windows[:count])
        frame = Frame(
            device=device,
            boot=span.boot,
            stream=span.stream,
            seq_from=first,
            seq_to=first + count - 1,
            base=min(span.low, first),
            shed=span.shed,
            t0=windows[0].t,
            clock=trust_of(windows[0].t),
            model=windows[0].model,
            columns=columns,
            labels=labels,
            sketches=sketches,
        )
        data = codec.canonical(frame)
        if len(data) <= MAX_FRAME_BYTES or count == 1:
            return PackedFrame(frame, data)
        count = max(1, count * MAX_FRAME_BYTES // len(data) * 9 // 10)
    return None


def _alike(windows: Sequence[Window]) -> int:
    """Return how many of the first windows share one model and mergeable histograms."""
    edges: dict[str, tuple[float, ...]] = {}
    for n, window in enumerate(windows):
        if window.model != windows[0].model:
            return n
        for name, sketch in window.sketches.items():
            if edges.setdefault(name, sketch.edges) != sketch.edges:
                return n
    return len(windows)
