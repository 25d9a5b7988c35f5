"""What each slot of each device must run: signed, numbered, rung for in the same transaction."""

from collections.abc import Sequence

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from edgeops import codec
from edgeops.clock import Clock
from edgeops.contracts.update import Assignment, Probation
from edgeops.errors import TransitionError, UsageError
from edgeops.trust import ASSIGNMENT_TYPE, Envelope, SigningKey, parse_envelope
from fleet.db.schema import assignment, bundle, device, doorbell, slot_state


class Assigner:
    """Writes assignments with the director key's signature.

    Args:
        director: The key that devices trust to say what they must run.
        clock: Wall time for the records.
    """

    def __init__(self, director: SigningKey, clock: Clock) -> None:
        self._director = director
        self._clock = clock

    def set_assignment(  # noqa: D417  # the rest is what Assignment says
        self,
        connection: Connection,
        *,
        device: str,
        slot: str,
        bundle: str,
        rollout: str | None = None,
        attempt: int = 1,
        probation: Probation | None = None,
        downgrade_ok_from: int | None = None,
        not_before: float | None = None,
        deadline: float | None = None,
    ) -> int:
        """Assign a bundle to one slot of one device; return the new generation.

        The doorbell is written in the caller's transaction: none is lost, none rings for nothing.

        Args:
            connection: Inside a write transaction.

        Raises:
            UsageError: No such device or bundle.
            TransitionError: The device is decommissioned.
        """
        _check_target(connection, device, bundle)
        document = Assignment(
            device=device,
            slot=slot,
            gen=_last_generation(connection, device, slot) + 1,
            bundle=bundle,
            rollout=rollout,
            attempt=attempt,
            not_before=not_before,
            deadline=deadline,
            probation=probation or Probation(),
            downgrade_ok_from=downgrade_ok_from,
        )
        envelope = self._director.seal(ASSIGNMENT_TYPE, codec.canonical(document))
        now_s = self._clock.wall()
        values = {
            "gen": document.gen,
            "bundle": bundle,
            "rollout": rollout,
            "attempt": attempt,
            "envelope": codec.canonical(envelope),
            "assigned_s": now_s,
        }
        connection.execute(
            insert(assignment)
            .values(device=device, slot=slot, **values)
            .on_conflict_do_update(index_elements=["device", "slot"], set_=values)
        )
        ring = {"gen": document.gen, "rung_s": now_s}
        connection.execute(
            insert(doorbell)
            .values(device=device, **ring)
            .on_conflict_do_update(index_elements=["device"], set_=ring)
        )
        return document.gen


def _last_generation(connection: Connection, device_id: str, slot: str) -> int:
    """Return the highest generation given out, or that the device says it has seen.

    The two differ after the database was restored from a backup, and a device never goes back.
    """
    given = select(assignment.c.gen).where(
        assignment.c.device == device_id, assignment.c.slot == slot
    )
    seen = select(slot_state.c.gen).where(
        slot_state.c.device == device_id, slot_state.c.slot == slot
    )
    known: Sequence[int] = connection.execute(given.union_all(seen)).scalars().all()
    return max(known, default=0)


def envelopes_of(connection: Connection, device_id: str) -> tuple[Envelope, ...]:
    """Return the signed assignments of a device, one per slot, as they were stored."""
    rows = connection.execute(
        select(assignment.c.envelope)
        .where(assignment.c.device == device_id)
        .order_by(assignment.c.slot)
    )
    return tuple(parse_envelope(row.envelope, where="assignment") for row in rows)


def is_assigned(connection: Connection, device_id: str, digest: str) -> bool:
    """Return whether a bundle is what one of the device's slots must run now."""
    found = connection.execute(
        select(assignment.c.gen)
        .where(assignment.c.device == device_id, assignment.c.bundle == digest)
        .limit(1)
    ).first()
    return found is not None


def _check_target(connection: Connection, device_id: str, digest: str) -> None:
    row = connection.execute(
        select(device.c.decommissioned_s).where(device.c.id == device_id)
    ).first()
    if row is None:
        raise UsageError(f"no device {device_id!r} is enrolled")
    if row.decommissioned_s is not None:
        raise TransitionError(f"device {device_id!r} is decommissioned")
    known = select(bundle.c.digest).where(bundle.c.digest == digest)
    if connection.execute(known).first() is None:
        raise UsageError(f"no bundle {digest} is in the registry")
