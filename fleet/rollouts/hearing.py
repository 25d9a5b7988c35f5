"""What the devices of a rollout have said since the last turn."""

from typing import Final

from fleet.rollouts import members
from fleet.rollouts.handback import withdraw
from fleet.rollouts.machine import IN_FLIGHT, MemberEvent, MemberState, RolloutState
from fleet.rollouts.progress import (
    DECOMMISSIONED,
    UNREACHED,
    Finding,
    Standing,
    observe,
    observe_committed,
    observe_reverting,
    retry_delay_s,
)
from fleet.rollouts.store import Stage
from fleet.rollouts.turn import ROWS_PER_TURN, Turn

_ENDED_BADLY: Final = frozenset(
    {MemberEvent.BROKE, MemberEvent.DOUBTED, MemberEvent.SPENT, MemberEvent.FELL_BACK}
)


def hear(turn: Turn) -> None:
    """Move every member on whose newest report, or whose silence, says something new."""
    connection, now, stages = turn.connection, turn.now, turn.stages()
    for member in members.standing(connection, now, IN_FLIGHT, limit=ROWS_PER_TURN):
        _apply(turn, member, _on_the_way(turn, member, stages[member.k]))
    for member in members.dismissed(connection, now, limit=ROWS_PER_TURN):
        _apply(turn, member, Finding(event=MemberEvent.GONE, reason=DECOMMISSIONED))
    if now.state is RolloutState.ABORTING_REVERT:
        for member in members.answered(
            connection, now, [MemberState.REVERTING], limit=ROWS_PER_TURN
        ):
            _apply(turn, member, observe_reverting(member))
        return
    for member in members.strayed(connection, now, limit=ROWS_PER_TURN):
        _apply(turn, member, observe_committed(member, bundle=now.bundle))


def _on_the_way(turn: Turn, member: Standing, stage: Stage) -> Finding | None:
    return observe(
        member,
        bundle=turn.now.bundle,
        watched=turn.now.watched,
        timeout_s=turn.now.spec.stages[stage.number].attempt_timeout,
        retries=turn.now.spec.retries,
    )


def _apply(turn: Turn, member: Standing, finding: Finding | None) -> None:
    if finding is None:
        return
    event = finding.event
    unreached = event is MemberEvent.RETRIED and finding.reason == UNREACHED
    values: dict[str, float | int] = {}
    if event in _ENDED_BADLY or unreached:
        values["gen"] = withdraw(turn, member)
    if event is MemberEvent.RETRIED and not unreached:
        values["transients"] = member.transients + 1
        values["ready_at"] = turn.now.watched + retry_delay_s(member.transients + 1)
    turn.move(member, finding, **values)
    if event in _ENDED_BADLY or event is MemberEvent.STUCK:
        body = {
            "device": member.device,
            "event": event.value,
            "reason": finding.reason,
            "detail": finding.detail,
            "attempt": member.attempt,
        }
        turn.record("device-failed", stage=member.k, body=body)
