"""Puts the numbers before the policy and does what it says."""

from collections.abc import Mapping
from typing import Final

from fleet.rollouts import members, store
from fleet.rollouts.admitting import admit, places, skip_absent
from fleet.rollouts.machine import (
    MemberState,
    RolloutEvent,
    RolloutState,
    StageEvent,
    StageState,
    next_event,
)
from fleet.rollouts.policy import (
    POLICY_VERSION,
    STOPS,
    Action,
    Judgement,
    Tally,
    Verdict,
    action,
    judge,
)
from fleet.rollouts.store import Stage
from fleet.rollouts.turn import Turn, has_passed

WATCHED_STATES: Final = frozenset({RolloutState.RUNNING, RolloutState.PAUSED_AUTO})
"""States in which a gate may still stop the rollout: a pause can become an abort."""

_EVENTS: Final[Mapping[Action, RolloutEvent]] = {
    Action.PAUSE: RolloutEvent.GATE_STOPPED,
    Action.ABORT_KEEP: RolloutEvent.ABORT_ASKED,
    Action.ABORT_REVERT: RolloutEvent.REVERT_ASKED,
}


def watch_finished_stages(turn: Turn) -> None:
    """Stop where devices of a finished stage fell back: they still count against it."""
    for stage in turn.stages():
        if stage.state is StageState.DONE and turn.now.state in WATCHED_STATES:
            tally = tally_of(turn, stage)
            new = tally.failures > tally.acknowledged_failures
            judgement = _judge(turn, stage, tally)
            if new and judgement.verdict in STOPS:
                _stop(turn, stage, tally, judgement)


def advance(turn: Turn) -> bool:
    """Take one step with the current stage; return whether another one may follow."""
    stage = turn.stages()[turn.now.stage]
    if stage.state is StageState.PLANNED:
        if turn.now.state is not RolloutState.RUNNING:
            return False
        turn.record("stage-opened", stage=stage.k, body={"devices": stage.size})
        turn.change_stage(stage, StageEvent.OPENED)
        return True
    tally = tally_of(turn, stage)
    judgement = _judge(turn, stage, tally)
    _note(turn, stage, tally, judgement)
    if _stop(turn, stage, tally, judgement) or turn.now.state is not RolloutState.RUNNING:
        return False
    event = next_event(
        stage.state,
        busy=bool(tally.waiting or tally.in_flight),
        soaked=tally.soaked,
        passes=judgement.verdict is Verdict.PASS,
    )
    if event is StageEvent.PASSED:
        return _pass(turn, stage, tally, judgement)
    if event is not None:
        turn.change_stage(stage, event)
        return True
    if stage.state is StageState.ADMITTING:
        admit(turn, stage)
    skip_absent(turn, stage)
    return False


def tally_of(turn: Turn, stage: Stage) -> Tally:
    """Return where the members of a stage are."""
    counts, now = stage.counts, turn.now
    gate, rule = now.spec.gate_of(stage.number), now.spec.stages[stage.number]
    unreachable = 0
    if counts[MemberState.WAITING]:
        unreachable = members.count_offline(turn.connection, now.id, stage.k, [MemberState.WAITING])
    waiting = counts[MemberState.WAITING] - unreachable
    return Tally(
        waiting=waiting,
        unreachable=unreachable,
        assigned=counts[MemberState.ASSIGNED],
        updating=counts[MemberState.UPDATING],
        committed=counts[MemberState.COMMITTED],
        failed=counts[MemberState.FAILED],
        regressed=counts[MemberState.REGRESSED],
        distrusted=counts[MemberState.DISTRUSTED],
        gave_up=counts[MemberState.GAVE_UP],
        left=counts[MemberState.LEFT],
        acknowledged_failures=stage.acknowledged_failures,
        acknowledged_distrusted=stage.acknowledged_distrusted,
        accepted=stage.accepted,
        soaked=stage.accepted or has_passed(now.watched, stage.settled_at, rule.soak),
        overdue=has_passed(now.watched, stage.evaluating_at, gate.deadline),
        blocked=waiting > 0 and turn.in_flight() == 0 and places(turn, stage) <= 0,
    )


def _judge(turn: Turn, stage: Stage, tally: Tally) -> Judgement:
    return judge(store.gate_rule(turn.now.spec, stage, last=turn.is_last(stage)), tally)


def _stop(turn: Turn, stage: Stage, tally: Tally, judgement: Judgement) -> bool:
    """Pause or abort where the judgement says so; return whether it did."""
    wanted = action(judgement, turn.now.spec.gate_of(stage.number).on_fail)
    event = _EVENTS.get(wanted)
    if event is None or (wanted is Action.PAUSE and turn.now.state is not RolloutState.RUNNING):
        return False
    turn.change(event, f"stage {stage.number + 1}: {judgement.reason}")
    body = _grounds(tally, judgement) | {"action": wanted.value}
    turn.record("stopped", stage=stage.k, body=body)
    return True


def _note(turn: Turn, stage: Stage, tally: Tally, judgement: Judgement) -> None:
    """Keep the verdict for people; too little data becomes evidence when it first shows."""
    verdict = judgement.verdict
    if stage.verdict == verdict.value and stage.verdict_reason == judgement.reason:
        return
    store.note_verdict(turn.connection, turn.now.id, stage.k, verdict, judgement.reason)
    if verdict is Verdict.INSUFFICIENT_DATA and stage.verdict != verdict.value:
        turn.record("verdict", stage=stage.k, body=_grounds(tally, judgement))


def _pass(turn: Turn, stage: Stage, tally: Tally, judgement: Judgement) -> bool:
    """End a stage; return whether there is another one."""
    turn.change_stage(stage, StageEvent.PASSED)
    turn.record("stage-passed", stage=stage.k, body=_grounds(tally, judgement))
    last = len(turn.stages()) - 1
    if stage.k == last:
        turn.change(RolloutEvent.LAST_STAGE_PASSED, judgement.reason)
        turn.record("completed")
        return False
    postponed = members.postpone(turn.connection, turn.now.id, k=stage.k, last=last)
    if postponed:
        turn.record("postponed", stage=stage.k, body={"devices": postponed, "to": last})
    turn.now = store.enter_stage(turn.connection, turn.now, stage.k + 1, now_s=turn.now_s)
    return True


def _grounds(tally: Tally, judgement: Judgement) -> dict[str, object]:
    return {
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "weak": judgement.weak,
        "figures": judgement.figures,
        "tally": tally,
        "policy_version": POLICY_VERSION,
    }
