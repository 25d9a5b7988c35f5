"""Rollouts as people and programs look at them; plain values, ready for JSON."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from fleet.rollouts import members, store, trail
from fleet.rollouts.evidence import Record
from fleet.rollouts.machine import MemberState, StageState
from fleet.rollouts.policy import Figures, Tally, figures_of
from fleet.rollouts.spec import RolloutSpec
from fleet.rollouts.store import Rollout, Stage

MOST_LISTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """One stage.

    Attributes:
        stage: Counts from 1, as in the specification.
        devices: Members by state, only states that occur; ``waiting`` without the unreachable.
        unreachable: Waiting members that are offline.
    """

    stage: int
    state: StageState
    percent: float | None
    count: int | None
    size: int
    devices: dict[str, int]
    unreachable: int
    verdict: str
    reason: str
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """One rollout.

    Attributes:
        state: In one word, such as ``paused``.
        cause: Who paused (``auto``, ``operator``) or how it aborts (``keep``, ``revert``).
        reason: One sentence on why it is in this state.
        revision: What an operator's next decision refers to.
        stage: The current stage, from 1.
        devices: Members of all stages by state.
        committed, failed: The two numbers that people ask for first; regressed count as failed.
    """

    id: str
    name: str
    bundle: str
    slot: str
    state: str
    cause: str | None
    reason: str
    revision: int
    stage: int
    created_s: float
    created_by: str
    changed_s: float
    watched_s: float
    size: int
    committed: int
    failed: int
    unreachable: int
    devices: dict[str, int]
    stages: tuple[StageView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """One device of a rollout."""

    device: str
    stage: int
    state: MemberState
    attempt: int
    gen: int
    before: str | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a rollout is where it is; the evidence's chain was checked."""

    rollout: RolloutView
    spec: RolloutSpec
    evidence: tuple[Record, ...]


def view(connection: Connection, now: Rollout) -> RolloutView:
    """Return a rollout with its stages."""
    stages = store.stages(connection, now.id)
    last = len(stages) - 1
    views = tuple(_stage(connection, now, stage, last=stage.k == last) for stage in stages)
    totals = {state: sum(stage.counts[state] for stage in stages) for state in MemberState}
    unreachable = sum(stage.unreachable for stage in views)
    failed = totals[MemberState.FAILED] + totals[MemberState.REGRESSED]
    return RolloutView(
        id=now.id,
        name=now.name,
        bundle=now.bundle,
        slot=now.slot,
        state=now.state.word,
        cause=now.state.cause,
        reason=now.reason,
        revision=now.revision,
        stage=stages[now.stage].number + 1 if stages else 0,
        created_s=now.created_s,
        created_by=now.created_by,
        changed_s=now.changed_s,
        watched_s=now.watched,
        size=sum(totals.values()),
        committed=totals[MemberState.COMMITTED],
        failed=failed,
        unreachable=unreachable,
        devices=_named(totals),
        stages=views,
    )


def member_views(
    connection: Connection, now: Rollout, states: tuple[MemberState, ...] = tuple(MemberState)
) -> tuple[MemberView, ...]:
    """Return the members in the given states in order of admission, at most 1000."""
    numbers = [stage.number for stage in store.stages(connection, now.id)]
    return tuple(
        MemberView(
            device=member.device,
            stage=numbers[member.k] + 1,
            state=member.state,
            attempt=member.attempt,
            gen=member.gen,
            before=member.before,
            reason=member.reason,
            detail=member.detail,
        )
        for member in members.standing(connection, now, states, limit=MOST_LISTED)
    )


def explain(connection: Connection, now: Rollout) -> Explanation:
    """Return a rollout with everything that was decided about it.

    Raises:
        TrustError: The evidence was changed.
    """
    return Explanation(
        rollout=view(connection, now), spec=now.spec, evidence=trail.read(connection, now)
    )


def _stage(connection: Connection, now: Rollout, stage: Stage, *, last: bool) -> StageView:
    unreachable = 0
    if stage.counts[MemberState.WAITING]:
        waiting = [MemberState.WAITING]
        unreachable = members.count_offline(connection, now.id, stage.k, waiting)
    counts = dict(stage.counts)
    counts[MemberState.WAITING] -= unreachable
    tally = Tally(
        waiting=counts[MemberState.WAITING],
        unreachable=unreachable,
        assigned=counts[MemberState.ASSIGNED],
        updating=counts[MemberState.UPDATING],
        committed=counts[MemberState.COMMITTED],
        failed=counts[MemberState.FAILED],
        regressed=counts[MemberState.REGRESSED],
        distrusted=counts[MemberState.DISTRUSTED],
        gave_up=counts[MemberState.GAVE_UP],
    )
    rule = now.spec.stages[stage.number]
    return StageView(
        stage=stage.number + 1,
        state=stage.state,
        percent=rule.percent,
        count=rule.count,
        size=stage.size,
        devices=_named(counts),
        unreachable=unreachable,
        verdict=stage.verdict,
        reason=stage.verdict_reason,
        figures=figures_of(store.gate_rule(now.spec, stage, last=last), tally),
    )


def _named(counts: dict[MemberState, int]) -> dict[str, int]:
    return {state.value: n for state, n in counts.items() if n}
