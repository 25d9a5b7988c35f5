"""What devices say about themselves: connected or not, and what each slot runs."""

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from edgeops import codec
from edgeops.contracts.update import Connection as DeviceConnection
from edgeops.contracts.update import DeviceReport, SlotReport
from fleet.db.schema import boot, device, report, slot_state

MAX_DETAIL = 2000
KEPT_BOOTS = 20


def apply_connection(connection: Connection, said: DeviceConnection, *, now_s: float) -> bool:
    """Note that a device came or went; return whether that changed anything.

    A last will that arrives after the device is back names the boot that died, and is ignored.
    """
    if not said.online:
        gone = connection.execute(
            update(device)
            .where(device.c.id == said.device, device.c.boot == said.boot, device.c.online)
            .values(online=False)
        )
        return gone.rowcount > 0
    _note_boot(connection, said.device, said.boot, now_s)
    if said.boot != _newest_boot(connection, said.device):
        return False
    connection.execute(
        update(device)
        .where(device.c.id == said.device)
        .values(
            online=True,
            boot=said.boot,
            agent=said.agent[:64],
            arch=said.arch[:32],
            runtimes=[name[:32] for name in said.runtimes[:16]],
            last_seen_s=now_s,
        )
    )
    return True


def apply_report(
    connection: Connection, said: DeviceReport, body: bytes, *, now_s: float, keep: int
) -> int:
    """Store a report unless a newer one is known; return the highest ``report_seq`` of its boot.

    Args:
        connection: Inside a write transaction.
        said: The report, of a device that is enrolled.
        body: The bytes as received.
        now_s: Wall seconds.
        keep: Reports per device that stay readable.
    """
    _note_boot(connection, said.device, said.boot, now_s)
    here = (boot.c.device == said.device, boot.c.boot == said.boot)
    known: int = connection.execute(select(boot.c.report_seq).where(*here)).scalar_one()
    if said.report_seq <= known:
        return known
    connection.execute(update(boot).where(*here).values(report_seq=said.report_seq))
    connection.execute(
        insert(report).values(
            device=said.device,
            boot=said.boot,
            report_seq=said.report_seq,
            received_s=now_s,
            body=body,
        )
    )
    _forget_reports(connection, said.device, keep)
    if said.boot == _newest_boot(connection, said.device):
        _replace_slots(connection, said, now_s)
    return said.report_seq


def all_offline(connection: Connection) -> None:
    """Forget who is online: said when the broker was away, before its retained words come."""
    connection.execute(update(device).where(device.c.online).values(online=False))


def _replace_slots(connection: Connection, said: DeviceReport, now_s: float) -> None:
    names = [slot.slot for slot in said.slots]
    connection.execute(
        delete(slot_state).where(
            slot_state.c.device == said.device, slot_state.c.slot.not_in(names)
        )
    )
    for slot in said.slots:
        values = _slot_values(slot) | {
            "boot": said.boot,
            "report_seq": said.report_seq,
            "reported_s": now_s,
        }
        connection.execute(
            upsert(slot_state)
            .values(device=said.device, slot=slot.slot, **values)
            .on_conflict_do_update(index_elements=["device", "slot"], set_=values)
        )


def _slot_values(slot: SlotReport) -> dict[str, object]:
    return {
        "gen": slot.gen,
        "state": slot.state.value,
        "running": slot.running,
        "previous": slot.previous,
        "target": slot.target,
        "version": slot.version[:300],
        "serial": slot.serial,
        "rollout": slot.rollout,
        "attempt": slot.attempt,
        "reason": slot.reason.value if slot.reason else None,
        "detail": slot.detail[:MAX_DETAIL],
        "preflight": codec.plain(slot.preflight) if slot.preflight else None,
        "probation": codec.plain(slot.probation) if slot.probation else None,
    }


def _note_boot(connection: Connection, device_id: str, boot_id: str, now_s: float) -> None:
    added = connection.execute(
        upsert(boot)
        .values(device=device_id, boot=boot_id, first_seen_s=now_s)
        .on_conflict_do_nothing()
    )
    if added.rowcount > 0:
        stale = (
            select(boot.c.id)
            .where(boot.c.device == device_id)
            .order_by(boot.c.id.desc())
            .offset(KEPT_BOOTS)
        )
        connection.execute(delete(boot).where(boot.c.id.in_(stale)))


def _newest_boot(connection: Connection, device_id: str) -> str | None:
    return connection.execute(
        select(boot.c.boot).where(boot.c.device == device_id).order_by(boot.c.id.desc()).limit(1)
    ).scalar_one_or_none()


def _forget_reports(connection: Connection, device_id: str, keep: int) -> None:
    stale = (
        select(report.c.id)
        .where(report.c.device == device_id)
        .order_by(report.c.id.desc())
        .offset(keep)
    )
    connection.execute(delete(report).where(report.c.id.in_(stale)))
