"""Rollouts and their stages in the database: rows to values, and changes by compare-and-set.

Every change names the state that it starts from. Where another connection was faster, nothing is
written and ``TransitionError`` is raised, so that no success fires twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection, Row, insert, select, update

from edgeops import codec
from edgeops.errors import TransitionError, UsageError
from fleet.db.rollout_tables import rollout, rollout_stage
from fleet.rollouts.evidence import START
from fleet.rollouts.machine import (
    ROLLOUT,
    STAGE,
    TICKED,
    MemberState,
    RolloutEvent,
    RolloutState,
    StageEvent,
    StageState,
    step,
)
from fleet.rollouts.policy import GateRule, Verdict
from fleet.rollouts.spec import RolloutSpec, SmallStage

MAX_SENTENCE: Final = 500

ASKED: Final[Mapping[RolloutEvent, str]] = {
    RolloutEvent.STARTED: "started",
    RolloutEvent.APPROVED: "approved",
    RolloutEvent.OPERATOR_PAUSED: "paused",
    RolloutEvent.RESUMED: "resumed",
    RolloutEvent.ABORT_ASKED: "aborted",
    RolloutEvent.REVERT_ASKED: "reverted",
}
"""What an operator wanted, in the words of the commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One rollout as stored."""

    id: str
    name: str
    bundle: str
    slot: str
    spec: RolloutSpec
    salt: str
    state: RolloutState
    reason: str
    revision: int
    stage: int
    created_s: float
    created_by: str
    changed_s: float
    watched: float
    join_at: float
    evidence_count: int
    evidence_head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage as stored; ``counts`` holds its members by state."""

    k: int
    number: int
    state: StageState
    small_stage: SmallStage
    counts: Mapping[MemberState, int]
    acknowledged_failures: int
    acknowledged_distrusted: int
    accepted: bool
    opened_at: float | None
    settled_at: float | None
    evaluating_at: float | None
    verdict: str
    verdict_reason: str

    @property
    def size(self) -> int:
        """Return how many devices belong to it."""
        return sum(self.counts.values())


def gate_rule(spec: RolloutSpec, stage: Stage, *, last: bool) -> GateRule:
    """Return the gate that a stage is judged by."""
    gate = spec.gate_of(stage.number)
    return GateRule(
        max_failure_rate=gate.max_failure_rate,
        min_n=gate.min_n,
        small_stage=stage.small_stage,
        last=last,
    )


def add(
    connection: Connection,
    spec: RolloutSpec,
    *,
    rollout_id: str,
    salt: str,
    state: RolloutState,
    actor: str,
    request_key: str | None,
    now_s: float,
) -> Rollout:
    """Store a new rollout without stages."""
    connection.execute(
        insert(rollout).values(
            id=rollout_id,
            name=spec.name,
            bundle=spec.bundle,
            slot=spec.slot,
            spec=codec.canonical(spec),
            salt=salt,
            state=state.value,
            reason="",
            revision=1,
            stage=0,
            created_s=now_s,
            created_by=actor,
            changed_s=now_s,
            request_key=request_key,
            watched=0.0,
            join_at=0.0,
            lease_until_s=0.0,
            fence=0,
            evidence_count=0,
            evidence_head=START,
        )
    )
    return load(connection, rollout_id)


def add_stage(
    connection: Connection, rollout_id: str, *, k: int, number: int, small_stage: SmallStage
) -> None:
    """Store a stage that has no members yet."""
    connection.execute(
        insert(rollout_stage).values(
            rollout=rollout_id,
            k=k,
            number=number,
            state=StageState.PLANNED.value,
            small_stage=small_stage.value,
        )
    )


def load(connection: Connection, rollout_id: str) -> Rollout:
    """Return a rollout.

    Raises:
        UsageError: There is none of that id.
    """
    row = connection.execute(select(rollout).where(rollout.c.id == rollout_id)).first()
    if row is None:
        raise UsageError(f"no rollout {rollout_id!r}")
    return _rollout(row)


def by_request(connection: Connection, request_key: str) -> Rollout | None:
    """Return the rollout that a request made, if it did."""
    row = connection.execute(select(rollout).where(rollout.c.request_key == request_key)).first()
    return None if row is None else _rollout(row)


def newest(connection: Connection, limit: int) -> tuple[Rollout, ...]:
    """Return the newest rollouts first."""
    rows = connection.execute(
        select(rollout).order_by(rollout.c.created_s.desc(), rollout.c.id.desc()).limit(limit)
    )
    return tuple(_rollout(row) for row in rows)


def ticked(connection: Connection) -> tuple[str, ...]:
    """Return the ids of the rollouts in which the engine has work, oldest first."""
    rows = connection.execute(
        select(rollout.c.id)
        .where(rollout.c.state.in_([state.value for state in TICKED]))
        .order_by(rollout.c.created_s, rollout.c.id)
    )
    return tuple(rows.scalars())


def stages(connection: Connection, rollout_id: str) -> tuple[Stage, ...]:
    """Return the stages of a rollout in order."""
    rows = connection.execute(
        select(rollout_stage)
        .where(rollout_stage.c.rollout == rollout_id)
        .order_by(rollout_stage.c.k)
    )
    return tuple(_stage(row) for row in rows)


def lease(
    connection: Connection,
    rollout_id: str,
    *,
    owner: str,
    now_s: float,
    for_s: float,
    most_s: float,
) -> int | None:
    """Take or renew the right to tick a rollout; return the fence, or ``None`` if another has it.

    The row stays locked until the transaction ends. ``watched`` grows by the time since the last
    tick, at most ``most_s``: a server that was down has not watched, and a wall clock that jumps
    back does not take time away.
    """
    row = connection.execute(
        select(rollout.c.ticked_s, rollout.c.fence, rollout.c.lease_owner).where(
            rollout.c.id == rollout_id
        )
    ).first()
    if row is None:
        return None
    since_s = 0.0 if row.ticked_s is None else min(most_s, max(0.0, now_s - row.ticked_s))
    fence: int = row.fence if row.lease_owner == owner else row.fence + 1
    taken = connection.execute(
        update(rollout)
        .where(
            rollout.c.id == rollout_id,
            rollout.c.fence == row.fence,
            (rollout.c.lease_owner == owner)
            | rollout.c.lease_owner.is_(None)
            | (rollout.c.lease_until_s <= now_s)
            # A wall clock that went back must not leave a rollout without an engine.
            | (rollout.c.lease_until_s > now_s + for_s),
        )
        .values(
            lease_owner=owner,
            lease_until_s=now_s + for_s,
            fence=fence,
            ticked_s=now_s,
            watched=rollout.c.watched + since_s,
        )
    )
    return fence if taken.rowcount == 1 else None


def change(
    connection: Connection, now: Rollout, event: RolloutEvent, *, reason: str, now_s: float
) -> Rollout:
    """Move a rollout on by the table.

    Raises:
        TransitionError: Not possible in this state, or another connection was faster.
    """
    if (now.state, event) not in ROLLOUT:
        asked = ASKED.get(event, event.value)
        raise TransitionError(f"rollout {now.id} is {now.state.value} and cannot be {asked}")
    state = step(ROLLOUT, now.state, event)
    return _put(connection, now, now_s, state=state.value, reason=reason[:MAX_SENTENCE])


def enter_stage(connection: Connection, now: Rollout, k: int, *, now_s: float) -> Rollout:
    """Make ``k`` the current stage; see ``change`` for the errors."""
    return _put(connection, now, now_s, stage=k)


def joined(connection: Connection, now: Rollout, join_at: float) -> Rollout:
    """Note when to look for newly enrolled devices again."""
    connection.execute(update(rollout).where(rollout.c.id == now.id).values(join_at=join_at))
    return replace(now, join_at=join_at)


def change_stage(
    connection: Connection, rollout_id: str, stage: Stage, event: StageEvent, *, watched: float
) -> None:
    """Move a stage on by the table.

    Raises:
        TransitionError: Not possible in this state, or another connection was faster.
    """
    state = step(STAGE, stage.state, event)
    moments: dict[StageEvent, dict[str, float | None]] = {
        StageEvent.OPENED: {"opened_at": watched},
        StageEvent.SETTLED: {"settled_at": watched},
        StageEvent.SOAKED: {"evaluating_at": watched},
        StageEvent.REOPENED: {"settled_at": None, "evaluating_at": None},
        StageEvent.PASSED: {},
    }
    changed = connection.execute(
        update(rollout_stage)
        .where(
            rollout_stage.c.rollout == rollout_id,
            rollout_stage.c.k == stage.k,
            rollout_stage.c.state == stage.state.value,
        )
        .values(state=state.value, **moments[event])
    )
    if changed.rowcount != 1:
        raise TransitionError(f"stage {stage.number + 1} of {rollout_id} was changed meanwhile")


def note_verdict(
    connection: Connection, rollout_id: str, k: int, verdict: Verdict, reason: str
) -> None:
    """Keep the newest verdict on a stage, for people and to tell whether it is new."""
    _set_stage(
        connection, rollout_id, k, verdict=verdict.value, verdict_reason=reason[:MAX_SENTENCE]
    )


def acknowledge(
    connection: Connection, rollout_id: str, stage: Stage, *, accept: bool, watched: float
) -> None:
    """Note what an operator had seen when resuming; the gate's deadline starts again."""
    failures = stage.counts[MemberState.FAILED] + stage.counts[MemberState.REGRESSED]
    values: dict[str, float | int | bool] = {
        "acknowledged_failures": failures,
        "acknowledged_distrusted": stage.counts[MemberState.DISTRUSTED],
        "accepted": stage.accepted or accept,
    }
    if stage.evaluating_at is not None:
        values["evaluating_at"] = watched
    _set_stage(connection, rollout_id, stage.k, **values)


def _put(connection: Connection, now: Rollout, now_s: float, **values: str | int) -> Rollout:
    changed = connection.execute(
        update(rollout)
        .where(rollout.c.id == now.id, rollout.c.revision == now.revision)
        .values(revision=now.revision + 1, changed_s=now_s, **values)
    )
    if changed.rowcount != 1:
        raise TransitionError(f"rollout {now.id} was changed meanwhile; look at it again")
    return load(connection, now.id)


def _set_stage(
    connection: Connection, rollout_id: str, k: int, **values: str | float | bool
) -> None:
    connection.execute(
        update(rollout_stage)
        .where(rollout_stage.c.rollout == rollout_id, rollout_stage.c.k == k)
        .values(**values)
    )


def _rollout(row: Row[tuple[object, ...]]) -> Rollout:
    fields = row._mapping  # noqa: SLF001  # SQLAlchemy's public name for it
    kept = {name: fields[name] for name in Rollout.__dataclass_fields__}
    kept["spec"] = codec.decode(fields["spec"], RolloutSpec, where=f"rollout {fields['id']}")
    kept["state"] = RolloutState(fields["state"])
    return Rollout(**kept)


def _stage(row: Row[tuple[object, ...]]) -> Stage:
    fields = row._mapping  # noqa: SLF001  # SQLAlchemy's public name for it
    counts = {state: fields[column_of(state)] for state in MemberState}
    kept = {name: fields[name] for name in Stage.__dataclass_fields__ if name != "counts"}
    kept["state"] = StageState(fields["state"])
    kept["small_stage"] = SmallStage(fields["small_stage"])
    return Stage(counts=counts, **kept)


def column_of(state: MemberState) -> str:
    """Return the name of the stage's column that counts members in ``state``."""
    return state.value.replace("-", "_")
