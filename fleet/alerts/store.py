"""Alerts as rows: one per event of one device, whatever is repeated."""

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.sqlite import insert

from edgeops import codec
from edgeops.contracts.alert import AlertEvent, Severity
from fleet.db.schema import alert

MAX_LISTED: Final = 1000

AlertState = Literal["raised", "cleared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Which alerts are wanted; ``None`` means any.

    Attributes:
        before: Only rows with a lower ``row``: the next page.
    """

    device: str | None = None
    rule: str | None = None
    state: AlertState | None = None
    severity: Severity | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEntry:
    """One event; ``wall`` is the device's wall time, ``received_s`` ours."""

    row: int
    device: str
    event_id: str
    alert_id: str
    state: str
    rule: str
    pipeline: str
    key: str
    severity: str
    wall: float
    clock: str
    received_s: float
    evidence: dict[str, float]
    model: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertCount:
    """How many events of one rule."""

    rule: str
    state: str
    severity: str
    events: int


def add(connection: Connection, event: AlertEvent, body: bytes, *, now_s: float) -> bool:
    """Store an event; return whether it is new. ``body`` is the bytes as received."""
    added = connection.execute(
        insert(alert)
        .values(
            device=event.device,
            event_id=event.event_id,
            alert_id=event.alert_id,
            boot=event.boot,
            state=event.state,
            rule=event.rule,
            severity=event.severity,
            wall=event.wall,
            received_s=now_s,
            body=body,
        )
        .on_conflict_do_nothing(index_elements=["device", "event_id"])
    )
    return added.rowcount > 0


def listed(
    connection: Connection, wanted: AlertFilter, *, limit: int = 100
) -> tuple[AlertEntry, ...]:
    """Return events, newest first; at most ``limit``."""
    query = select(alert.c.id, alert.c.received_s, alert.c.body).order_by(alert.c.id.desc())
    for column, value in (
        (alert.c.device, wanted.device),
        (alert.c.rule, wanted.rule),
        (alert.c.state, wanted.state),
        (alert.c.severity, wanted.severity),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.before is not None:
        query = query.where(alert.c.id < wanted.before)
    rows = connection.execute(query.limit(min(limit, MAX_LISTED)))
    return tuple(_entry(row.id, row.received_s, row.body) for row in rows)


def counted(connection: Connection) -> tuple[AlertCount, ...]:
    """Return the number of events by rule, state and severity."""
    events = func.count().label("events")
    query = (
        select(alert.c.rule, alert.c.state, alert.c.severity, events)
        .group_by(alert.c.rule, alert.c.state, alert.c.severity)
        .order_by(events.desc())
        .limit(MAX_LISTED)
    )
    return tuple(
        AlertCount(rule=row.rule, state=row.state, severity=row.severity, events=row.events)
        for row in connection.execute(query)
    )


def _entry(row: int, received_s: float, body: bytes) -> AlertEntry:
    event = codec.decode(body, AlertEvent, where="alert")
    return AlertEntry(
        row=row,
        device=event.device,
        event_id=event.event_id,
        alert_id=event.alert_id,
        state=event.state,
        rule=event.rule,
        pipeline=event.pipeline,
        key=event.key,
        severity=event.severity,
        wall=event.wall,
        clock=event.clock,
        received_s=received_s,
        evidence=event.evidence,
        model=event.model,
        message=event.message,
    )
