"""Questions about devices and bundles that a rollout asks the server's state of record."""

from sqlalchemy import ColumnElement, Connection, func, select

from edgeops.errors import UsageError
from fleet.db.rollout_tables import rollout_member
from fleet.db.schema import bundle, device, slot_state
from fleet.rollouts.cohorts import Candidate
from fleet.rollouts.spec import Selector


def fleet_size(connection: Connection) -> int:
    """Return how many devices are enrolled."""
    return connection.execute(
        select(func.count()).select_from(device).where(device.c.decommissioned_s.is_(None))
    ).scalar_one()


def candidates(connection: Connection, selector: Selector) -> tuple[Candidate, ...]:
    """Return the enrolled devices that a selector matches.

    Raises:
        UsageError: A device named in the selector is not enrolled.
    """
    rows = connection.execute(
        select(device.c.id, device.c.board, device.c.site).where(*_conditions(selector))
    )
    found = {row.id: Candidate(device=row.id, board=row.board, site=row.site) for row in rows}
    if not selector.devices:
        return tuple(found.values())
    enrolled = _enrolled(connection)
    missing = [name for name in selector.devices if name not in enrolled]
    if missing:
        raise UsageError(f"no device {missing[0]!r} is enrolled")
    return tuple(found[name] for name in dict.fromkeys(selector.devices) if name in found)


def newcomers(connection: Connection, rollout: str, selector: Selector) -> tuple[str, ...]:
    """Return the devices that a selector matches and a rollout does not know, by id."""
    if selector.devices:
        return ()  # who is named was there at the start
    known = select(rollout_member.c.device).where(rollout_member.c.rollout == rollout)
    rows = connection.execute(
        select(device.c.id)
        .where(*_conditions(selector), device.c.id.not_in(known))
        .order_by(device.c.id)
    )
    return tuple(rows.scalars())


def bundle_serial(connection: Connection, digest: str) -> int:
    """Return the serial of a bundle.

    Raises:
        UsageError: It is not in the registry.
    """
    serial: int | None = connection.execute(
        select(bundle.c.serial).where(bundle.c.digest == digest)
    ).scalar_one_or_none()
    if serial is None:
        raise UsageError(f"no bundle {digest} is in the registry")
    return serial


def is_registered(connection: Connection, digest: str) -> bool:
    """Return whether the registry holds a bundle."""
    row = connection.execute(select(bundle.c.digest).where(bundle.c.digest == digest)).first()
    return row is not None


def devices_above(
    connection: Connection, rollout: str, slot: str, digest: str, serial: int
) -> tuple[int, str]:
    """Return how many members run a higher serial than a bundle's, and the first one's id."""
    above = (
        select(rollout_member.c.device)
        .join(slot_state, slot_state.c.device == rollout_member.c.device)
        .where(
            rollout_member.c.rollout == rollout,
            slot_state.c.slot == slot,
            slot_state.c.serial > serial,
            slot_state.c.running != digest,
        )
    ).subquery()
    row = connection.execute(select(func.count(), func.min(above.c.device))).one()
    return row[0], row[1] or ""


def _enrolled(connection: Connection) -> frozenset[str]:
    return frozenset(
        connection.execute(select(device.c.id).where(device.c.decommissioned_s.is_(None))).scalars()
    )


def _conditions(selector: Selector) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [device.c.decommissioned_s.is_(None)]
    if selector.site is not None:
        conditions.append(device.c.site == selector.site)
    if selector.board is not None:
        conditions.append(device.c.board == selector.board)
    conditions += [
        device.c.labels[name].as_string() == value for name, value in selector.labels.items()
    ]
    return conditions
