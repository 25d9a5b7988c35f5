"""What telemetry adds up to, for people and for the rollout's gates."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Executable, Float, cast, func, select

from edgeops import codec
from edgeops.codec import JsonValue
from edgeops.contracts.telemetry import Frame
from fleet import audit
from fleet.db.schema import bundle, dead_letter, device, frame, stream, telemetry_total

MAX_LISTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One column over all stored windows that had it."""

    sum: float
    mean: float
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """One stream of one device under one model; times in seconds."""

    device: str
    stream: str
    model: str
    windows: int
    span_s: float
    last_t: float
    received_s: float
    figures: dict[str, Figure]
    labels: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCursor:
    """Where one numbered sequence stands: up to ``contiguous`` nothing is awaited any more."""

    device: str
    boot: str
    stream: str
    contiguous: int
    highest: int
    windows: int
    shed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The fleet in numbers; ``counters`` over the whole life of the database."""

    devices: int
    online: int
    decommissioned: int
    bundles: int
    frames: int
    windows: int
    shed: int
    alerts_raised: int
    alerts_cleared: int
    dead_letters: int
    counters: dict[str, int]


def summaries(
    connection: Connection,
    *,
    device_id: str | None = None,
    stream_id: str | None = None,
    model: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> tuple[StreamSummary, ...]:
    """Return running sums by device, stream and model."""
    table = telemetry_total
    query = select(table).order_by(table.c.device, table.c.stream, table.c.model)
    for column, value in (
        (table.c.device, device_id),
        (table.c.stream, stream_id),
        (table.c.model, model),
    ):
        if value is not None:
            query = query.where(column == value)
    rows = connection.execute(query.limit(min(limit, MAX_LISTED)).offset(offset))
    return tuple(
        StreamSummary(
            device=row.device,
            stream=row.stream,
            model=row.model,
            windows=row.windows,
            span_s=row.span_s,
            last_t=row.last_t,
            received_s=row.received_s,
            figures={
                name: Figure(sum=total, mean=total / windows, windows=int(windows))
                for name, (total, windows) in sorted(row.figures.items())
                if windows
            },
            labels=row.labels,
        )
        for row in rows
    )


def cursors(connection: Connection, device_id: str) -> tuple[StreamCursor, ...]:
    """Return where each boot's streams of a device stand, newest first."""
    rows = connection.execute(
        select(stream)
        .where(stream.c.device == device_id)
        .order_by(stream.c.updated_s.desc(), stream.c.stream)
        .limit(MAX_LISTED)
    )
    return tuple(
        StreamCursor(
            device=row.device,
            boot=row.boot,
            stream=row.stream,
            contiguous=row.contiguous,
            highest=row.highest,
            windows=row.windows,
            shed=row.shed,
        )
        for row in rows
    )


def recent_frames(
    connection: Connection, device_id: str, stream_id: str, *, limit: int = 20
) -> tuple[JsonValue, ...]:
    """Return the newest frames of a stream as they came."""
    rows = connection.execute(
        select(frame.c.body)
        .where(frame.c.device == device_id, frame.c.stream == stream_id, frame.c.body != b"")
        .order_by(frame.c.id.desc())
        .limit(min(limit, MAX_LISTED))
    )
    return tuple(codec.plain(codec.decode(row.body, Frame, where="stored frame")) for row in rows)


def counts(connection: Connection) -> Counts:
    """Return the fleet in numbers."""
    here = device.c.decommissioned_s.is_(None)

    def number(query: Executable) -> int:
        return int(connection.execute(query).scalar_one() or 0)

    counters = audit.counters(connection)
    return Counts(
        devices=number(select(func.count()).select_from(device).where(here)),
        online=number(select(func.count()).select_from(device).where(here, device.c.online)),
        decommissioned=number(select(func.count()).select_from(device).where(~here)),
        bundles=number(select(func.count()).select_from(bundle)),
        frames=counters.get("stored.frames", 0),
        windows=counters.get("stored.windows", 0),
        # As whole numbers a few wild ones would overflow the sum, for everybody.
        shed=number(select(func.sum(cast(stream.c.shed, Float)))),
        alerts_raised=counters.get("stored.alerts_raised", 0),
        alerts_cleared=counters.get("stored.alerts_cleared", 0),
        dead_letters=number(select(func.count()).select_from(dead_letter)),
        counters=counters,
    )
