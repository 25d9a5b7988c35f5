"""The devices of a rollout in the database; the stage's counters move with them."""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, select, update

from edgeops.contracts.update import Reason, UpdateState
from edgeops.errors import TransitionError
from fleet.db.rollout_tables import rollout, rollout_member, rollout_stage
from fleet.db.schema import assignment, device, slot_state
from fleet.rollouts.machine import MEMBER, OPEN, MemberEvent, MemberState, step
from fleet.rollouts.progress import Said, Standing
from fleet.rollouts.store import MAX_SENTENCE, Rollout, column_of

MAX_REASON: Final = 32


def add(
    connection: Connection, rollout_id: str, k: int, devices: Sequence[str], *, start: int
) -> None:
    """Add waiting members to a stage, in order, from position ``start``."""
    if not devices:
        return
    now = {"rollout": rollout_id, "k": k, "state": MemberState.WAITING.value, "changed_s": 0.0}
    connection.execute(
        insert(rollout_member),
        [{**now, "device": name, "position": start + i} for i, name in enumerate(devices)],
    )
    _count(connection, rollout_id, k, {MemberState.WAITING: len(devices)})


def total(connection: Connection, rollout_id: str) -> int:
    """Return how many members a rollout has ever had."""
    return connection.execute(
        select(func.count())
        .select_from(rollout_member)
        .where(rollout_member.c.rollout == rollout_id)
    ).scalar_one()


def standing(
    connection: Connection,
    now: Rollout,
    states: Iterable[MemberState],
    *,
    limit: int | None = None,
) -> tuple[Standing, ...]:
    """Return members in the given states, in order of admission, with what they reported."""
    query = _standings(now).where(_in(states))
    return _fetch(connection, query, limit)


def answered(
    connection: Connection, now: Rollout, states: Iterable[MemberState], *, limit: int
) -> tuple[Standing, ...]:
    """Return members in the given states that reported on our generation, or that are gone."""
    query = _standings(now).where(
        _in(states),
        (slot_state.c.gen == rollout_member.c.gen)
        | device.c.decommissioned_s.is_not(None)
        | (assignment.c.gen != rollout_member.c.gen),
    )
    return _fetch(connection, query, limit)


def admissible(connection: Connection, now: Rollout, k: int, *, limit: int) -> tuple[Standing, ...]:
    """Return waiting members of a stage that are online and not held back by a retry delay."""
    query = _standings(now).where(
        _in([MemberState.WAITING]),
        rollout_member.c.k == k,
        rollout_member.c.ready_at <= now.watched,
        device.c.online,
        device.c.decommissioned_s.is_(None),
    )
    return _fetch(connection, query, limit)


def strayed(connection: Connection, now: Rollout, *, limit: int) -> tuple[Standing, ...]:
    """Return committed members whose newest report names another bundle."""
    query = _standings(now).where(
        _in([MemberState.COMMITTED]),
        slot_state.c.running.is_distinct_from(now.bundle),
        slot_state.c.device.is_not(None),
        assignment.c.gen == rollout_member.c.gen,
    )
    return _fetch(connection, query, limit)


def dismissed(connection: Connection, now: Rollout, *, limit: int) -> tuple[Standing, ...]:
    """Return waiting members that were decommissioned."""
    query = _standings(now).where(
        _in([MemberState.WAITING]), device.c.decommissioned_s.is_not(None)
    )
    return _fetch(connection, query, limit)


def absent(connection: Connection, now: Rollout, k: int, *, limit: int) -> tuple[Standing, ...]:
    """Return waiting members of a stage that are offline."""
    query = _standings(now).where(
        _in([MemberState.WAITING]), rollout_member.c.k == k, ~device.c.online
    )
    return _fetch(connection, query, limit)


def count_offline(
    connection: Connection, rollout_id: str, k: int, states: Iterable[MemberState]
) -> int:
    """Return how many members of a stage in the given states are offline."""
    return connection.execute(
        select(func.count())
        .select_from(rollout_member.join(device, device.c.id == rollout_member.c.device))
        .where(
            rollout_member.c.rollout == rollout_id,
            rollout_member.c.k == k,
            _in(states),
            ~device.c.online,
        )
    ).scalar_one()


def move(
    connection: Connection,
    now: Rollout,
    member: Standing,
    event: MemberEvent,
    *,
    now_s: float,
    reason: str = "",
    detail: str = "",
    **values: str | float | None,
) -> MemberState:
    """Move a member on by the table and count it in its stage; return its new state.

    ``values`` are further columns to set.

    Raises:
        TransitionError: Not possible in this state, or another connection was faster.
    """
    state = step(MEMBER, member.state, event)
    moved = connection.execute(
        update(rollout_member)
        .where(
            rollout_member.c.rollout == now.id,
            rollout_member.c.device == member.device,
            rollout_member.c.state == member.state.value,
        )
        .values(
            state=state.value,
            since_at=now.watched,
            changed_s=now_s,
            reason=reason[:MAX_REASON],
            detail=detail[:MAX_SENTENCE],
            **values,
        )
    )
    if moved.rowcount != 1:
        raise TransitionError(f"device {member.device} of {now.id} was moved meanwhile")
    _count(connection, now.id, member.k, {member.state: -1, state: 1})
    return state


def postpone(connection: Connection, rollout_id: str, *, k: int, last: int) -> int:
    """Move who still waits in a stage to the last one; return how many."""
    moved = connection.execute(
        update(rollout_member)
        .where(
            rollout_member.c.rollout == rollout_id,
            rollout_member.c.k == k,
            _in([MemberState.WAITING]),
        )
        .values(k=last)
    ).rowcount
    if moved:
        _count(connection, rollout_id, k, {MemberState.WAITING: -moved})
        _count(connection, rollout_id, last, {MemberState.WAITING: moved})
    return moved


def overlapping(connection: Connection, now: Rollout) -> tuple[str, ...]:
    """Return the open rollouts that have a claim on the same slot of one of its devices."""
    other = rollout_member.alias("other")
    rows = connection.execute(
        select(rollout.c.id)
        .distinct()
        .select_from(
            rollout_member.join(other, other.c.device == rollout_member.c.device).join(
                rollout, rollout.c.id == other.c.rollout
            )
        )
        .where(
            rollout_member.c.rollout == now.id,
            other.c.rollout != now.id,
            other.c.state != MemberState.LEFT.value,
            rollout.c.slot == now.slot,
            rollout.c.state.in_([state.value for state in OPEN]),
        )
        .order_by(rollout.c.id)
    )
    return tuple(rows.scalars())


def _in(states: Iterable[MemberState]) -> ColumnElement[bool]:
    return rollout_member.c.state.in_([state.value for state in states])


def _standings(now: Rollout) -> Select[tuple[object, ...]]:
    said, given = slot_state.c, assignment.c
    return (
        select(
            rollout_member.c.device,
            rollout_member.c.k,
            rollout_member.c.state,
            rollout_member.c.attempt,
            rollout_member.c.transients,
            rollout_member.c.gen,
            rollout_member.c.since_at,
            rollout_member.c.before,
            rollout_member.c.before_serial,
            rollout_member.c.reason,
            rollout_member.c.detail,
            device.c.decommissioned_s,
            device.c.online,
            func.coalesce(given.gen, 0).label("assigned_gen"),
            said.gen.label("said_gen"),
            said.state.label("said_state"),
            said.running,
            said.previous,
            said.serial,
            said.reason.label("said_reason"),
            said.detail.label("said_detail"),
        )
        .select_from(
            rollout_member.join(device, device.c.id == rollout_member.c.device)
            .outerjoin(
                slot_state,
                (said.device == rollout_member.c.device) & (said.slot == now.slot),
            )
            .outerjoin(
                assignment,
                (given.device == rollout_member.c.device) & (given.slot == now.slot),
            )
        )
        .where(rollout_member.c.rollout == now.id)
        .order_by(rollout_member.c.position)
    )


def _fetch(
    connection: Connection, query: Select[tuple[object, ...]], limit: int | None
) -> tuple[Standing, ...]:
    return tuple(_standing(row) for row in connection.execute(query.limit(limit)))


def _standing(row: Row[tuple[object, ...]]) -> Standing:
    said = None
    if row.said_gen is not None:
        said = Said(
            gen=row.said_gen,
            state=UpdateState(row.said_state),
            running=row.running,
            previous=row.previous,
            serial=row.serial,
            reason=Reason(row.said_reason) if row.said_reason else None,
            detail=row.said_detail,
        )
    return Standing(
        device=row.device,
        k=row.k,
        state=MemberState(row.state),
        attempt=row.attempt,
        transients=row.transients,
        gen=row.gen,
        assigned_gen=row.assigned_gen,
        since_at=row.since_at,
        before=row.before,
        before_serial=row.before_serial,
        reason=row.reason,
        detail=row.detail,
        active=row.decommissioned_s is None,
        online=row.online,
        said=said,
    )


def _count(connection: Connection, rollout_id: str, k: int, added: dict[MemberState, int]) -> None:
    values = {column_of(s): rollout_stage.c[column_of(s)] + n for s, n in added.items()}
    connection.execute(
        update(rollout_stage)
        .where(rollout_stage.c.rollout == rollout_id, rollout_stage.c.k == k)
        .values(**values)
    )
