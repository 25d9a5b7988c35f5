"""Devices as people look at them: who they are, what they must run and what they run."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Row, select

from fleet.db.schema import assignment, device, report, slot_state

MAX_LISTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """One slot: desired beside reported.

    Attributes:
        assigned, gen: Bundle and generation that we want; ``None`` and 0 before any.
        running, state, reported_gen: What the device said last.
        in_sync: It runs what we want, and has committed it.
    """

    slot: str
    assigned: str | None
    gen: int
    rollout: str | None
    running: str | None
    version: str
    state: str | None
    reported_gen: int
    reason: str | None
    detail: str
    reported_s: float | None
    in_sync: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """One device; times in wall seconds."""

    id: str
    site: str
    board: str
    labels: dict[str, str]
    online: bool
    decommissioned: bool
    agent: str
    arch: str
    runtimes: tuple[str, ...]
    boot: str
    enrolled_s: float
    last_seen_s: float | None
    slots: tuple[SlotView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """One report as it came."""

    boot: str
    report_seq: int
    received_s: float
    body: str


def listed(
    connection: Connection,
    *,
    site: str | None = None,
    board: str | None = None,
    online: bool | None = None,
    decommissioned: bool = False,
    after: str = "",
    limit: int = MAX_LISTED,
) -> tuple[DeviceView, ...]:
    """Return devices by id; ``after`` is the last id of the page before."""
    query = select(device).where(device.c.id > after).order_by(device.c.id)
    query = query.limit(min(limit, MAX_LISTED))
    if site is not None:
        query = query.where(device.c.site == site)
    if board is not None:
        query = query.where(device.c.board == board)
    if online is not None:
        query = query.where(device.c.online.is_(online))
    if not decommissioned:
        query = query.where(device.c.decommissioned_s.is_(None))
    rows = connection.execute(query).all()
    slots = _slots(connection, [row.id for row in rows])
    return tuple(_view(row, slots.get(row.id, ())) for row in rows)


def shown(connection: Connection, device_id: str) -> DeviceView | None:
    """Return one device, or ``None``."""
    row = connection.execute(select(device).where(device.c.id == device_id)).first()
    if row is None:
        return None
    return _view(row, _slots(connection, [device_id]).get(device_id, ()))


def reports(connection: Connection, device_id: str, *, limit: int = 20) -> tuple[ReportView, ...]:
    """Return the newest reports of a device."""
    rows = connection.execute(
        select(report)
        .where(report.c.device == device_id)
        .order_by(report.c.id.desc())
        .limit(min(limit, MAX_LISTED))
    )
    return tuple(
        ReportView(
            boot=row.boot,
            report_seq=row.report_seq,
            received_s=row.received_s,
            body=row.body.decode("utf-8", errors="replace"),
        )
        for row in rows
    )


def _slots(connection: Connection, ids: list[str]) -> dict[str, tuple[SlotView, ...]]:
    wanted = {
        (row.device, row.slot): row
        for row in connection.execute(
            select(
                assignment.c.device,
                assignment.c.slot,
                assignment.c.bundle,
                assignment.c.gen,
                assignment.c.rollout,
            ).where(assignment.c.device.in_(ids))
        )
    }
    said = {
        (row.device, row.slot): row
        for row in connection.execute(select(slot_state).where(slot_state.c.device.in_(ids)))
    }
    found: dict[str, tuple[SlotView, ...]] = {}
    for key in sorted(wanted.keys() | said.keys()):
        found[key[0]] = (*found.get(key[0], ()), _slot(key[1], wanted.get(key), said.get(key)))
    return found


def _slot(
    name: str, wanted: Row[*tuple[object, ...]] | None, said: Row[tuple[object, ...]] | None
) -> SlotView:
    assigned = wanted.bundle if wanted is not None else None
    running = said.running if said is not None else None
    return SlotView(
        slot=name,
        assigned=assigned,
        gen=wanted.gen if wanted is not None else 0,
        rollout=wanted.rollout if wanted is not None else None,
        running=running,
        version=said.version if said is not None else "",
        state=said.state if said is not None else None,
        reported_gen=said.gen if said is not None else 0,
        reason=said.reason if said is not None else None,
        detail=said.detail if said is not None else "",
        reported_s=said.reported_s if said is not None else None,
        in_sync=assigned is not None
        and running == assigned
        and said is not None
        and said.state in {"committed", "idle"},
    )


def _view(row: Row[*tuple[object, ...]], slots: tuple[SlotView, ...]) -> DeviceView:
    return DeviceView(
        id=row.id,
        site=row.site,
        board=row.board,
        labels=row.labels,
        online=row.online,
        decommissioned=row.decommissioned_s is not None,
        agent=row.agent,
        arch=row.arch,
        runtimes=tuple(row.runtimes),
        boot=row.boot,
        enrolled_s=row.enrolled_s,
        last_seen_s=row.last_seen_s,
        slots=slots,
    )
