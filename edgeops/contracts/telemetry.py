"""Windows of figures that come home in frames, and the acknowledgement that frees them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from edgeops.clock import ClockTrust
from edgeops.contracts.scalars import Count, Id

MAX_FRAME_BYTES = 64 * 1024
MAX_WINDOWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A mergeable histogram over fixed edges: adding counts of equal edges merges two."""

    edges: tuple[float, ...]
    counts: tuple[Count, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Figures of one stretch of time of one pipeline, as the device stores them.

    Attributes:
        t: Wall seconds since 1970 at the end of the window, as far as the device knew.
        span_s: Length of the window in seconds.
        model: Digest of the bundle that answered at the end of the window.
        values: Plain figures by name with units in the name (``frames``, ``lat_p95_ms``,
            ``drops_queue``, ``cpu_c``, ``outbox_rows`` …).
        sketches: Histograms by name (``score``, ``lat_ms`` …).
        labels: How often each label was the answer.
    """

    t: float
    span_s: float
    model: str = ""
    values: dict[str, float] = field(default_factory=dict)
    sketches: dict[str, Sketch] = field(default_factory=dict)
    labels: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Consecutive windows of one stream, boot and model, as columns.

    ``(device, boot, stream, seq)`` is the key of a window, which makes a repeat harmless.

    Attributes:
        base: Lowest seq that the device still holds or will ever send of this stream and boot;
            all below it was acknowledged or shed. The server counts from here on.
        shed: Windows of this stream and boot given up so far because the disk was full.
        t0: Wall seconds of the first window.
        model: Digest of the bundle that answered in all these windows.
        columns: By name with its unit, one value per window (``None``: not measured). Always
            holds ``t`` (wall seconds at the window's end) and ``span_s``.
        labels: By label, how often it was the answer, one count per window.
        sketches: Histograms by name, merged over the frame's windows.
    """

    v: Literal[1] = 1
    device: Id
    boot: Id
    stream: Id
    seq_from: Annotated[int, Meta(ge=1)]
    seq_to: Annotated[int, Meta(ge=1)]
    base: Annotated[int, Meta(ge=1)] = 1
    shed: Count = 0
    t0: float
    clock: ClockTrust = "estimated"
    model: str = ""
    columns: dict[str, tuple[float | None, ...]]
    labels: dict[str, tuple[Count, ...]] = field(default_factory=dict)
    sketches: dict[str, Sketch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        length = self.seq_to - self.seq_from + 1
        if not 1 <= length <= MAX_WINDOWS:
            raise ValueError(f"Expected 1 to {MAX_WINDOWS} windows, got {length}")
        if not {"t", "span_s"} <= self.columns.keys():
            raise ValueError("Expected the columns t and span_s")
        for name, column in (*self.columns.items(), *self.labels.items()):
            if len(column) != length:
                raise ValueError(f"Expected {length} values in the column {name}")


def merge(first: Sketch, second: Sketch) -> Sketch:
    """Add two histograms; raises ``ValueError`` where their edges differ."""
    if first.edges != second.edges:
        raise ValueError("Expected equal edges")
    counts = tuple(a + b for a, b in zip(first.counts, second.counts, strict=True))
    return Sketch(edges=first.edges, counts=counts)


def columns_of(
    windows: Sequence[Window],
) -> tuple[dict[str, tuple[float | None, ...]], dict[str, tuple[int, ...]], dict[str, Sketch]]:
    """Return ``(columns, labels, sketches)`` of a frame that holds ``windows`` in order."""
    names = sorted({name for window in windows for name in window.values})
    columns: dict[str, tuple[float | None, ...]] = {
        name: tuple(window.values.get(name) for window in windows) for name in names
    }
    columns["t"] = tuple(window.t for window in windows)
    columns["span_s"] = tuple(window.span_s for window in windows)
    said = sorted({label for window in windows for label in window.labels})
    labels = {label: tuple(window.labels.get(label, 0) for window in windows) for label in said}
    sketches: dict[str, Sketch] = {}
    for window in windows:
        for name, sketch in window.sketches.items():
            sketches[name] = merge(sketches[name], sketch) if name in sketches else sketch
    return columns, labels, sketches


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Server to device, after the database commit: what may be deleted.

    Attributes:
        boot: The boot whose ``streams`` are meant.
        streams: Highest contiguous sequence number stored, per stream.
        alerts: Event ids of stored alerts (of any boot).
        report_seq: Highest stored report of this boot.
    """

    v: Literal[1] = 1
    boot: Id
    streams: dict[str, Count] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    report_seq: Count | None = None
