"""Gives devices back what they ran before: after a failure, an abort, or a revert."""

from fleet.rollouts import inventory, members
from fleet.rollouts.machine import IN_FLIGHT, MemberEvent, MemberState, RolloutEvent, RolloutState
from fleet.rollouts.progress import (
    DECOMMISSIONED,
    NOTHING_BEFORE,
    TAKEN_OVER,
    Finding,
    Standing,
)
from fleet.rollouts.turn import ASSIGNMENTS_PER_TURN, ROWS_PER_TURN, Turn


def withdraw(turn: Turn, member: Standing) -> int:
    """Make what a device is told agree with what it runs; return its newest generation.

    A device that rolled back by itself stays on its old bundle: that bundle becomes its
    assignment, so that it does not try again. Where nothing is known to go back to (a first
    installation), the assignment stays as it is.
    """
    running = member.said.running if member.said is not None else None
    for digest in (running, member.before):
        if digest is not None and digest != turn.now.bundle:
            return _assign(turn, member, digest)
    return member.gen


def withdraw_in_flight(turn: Turn, *, limit: int = ROWS_PER_TURN) -> int:
    """Take the bundle back from devices on the way; return how many there were."""
    on_the_way = members.standing(turn.connection, turn.now, IN_FLIGHT, limit=limit)
    for member in on_the_way:
        gen = withdraw(turn, member)
        turn.move(member, Finding(event=MemberEvent.TAKEN_BACK), gen=gen)
    return len(on_the_way)


def take_back(turn: Turn) -> None:
    """Do the work of an aborting rollout; end it once nothing is left to do."""
    free = ASSIGNMENTS_PER_TURN
    free -= withdraw_in_flight(turn, limit=free)
    unfinished = set(IN_FLIGHT)
    if turn.now.state is RolloutState.ABORTING_REVERT:
        unfinished |= {MemberState.COMMITTED, MemberState.REVERTING}
        committed = [MemberState.COMMITTED]
        for member in members.standing(turn.connection, turn.now, committed, limit=free):
            _send_back(turn, member)
    stages = turn.stages()
    if any(stage.counts[state] for stage in stages for state in unfinished):
        return
    turn.change(RolloutEvent.TAKEN_BACK, turn.now.reason)
    totals = {state: sum(stage.counts[state] for stage in stages) for state in MemberState}
    turn.record(turn.now.state.value, body={state.value: n for state, n in totals.items() if n})


def _send_back(turn: Turn, member: Standing) -> None:
    if not member.active:
        turn.move(member, Finding(event=MemberEvent.GONE, reason=DECOMMISSIONED))
        return
    if member.assigned_gen != member.gen:
        turn.move(member, Finding(event=MemberEvent.GONE, reason=TAKEN_OVER))
        return
    gen = member.gen
    if member.before is not None and member.before != turn.now.bundle:
        gen = _assign(turn, member, member.before)
    if gen == member.gen:
        turn.move(member, Finding(event=MemberEvent.GONE, reason=NOTHING_BEFORE))
    else:
        turn.move(member, Finding(event=MemberEvent.SENT_BACK), gen=gen)


def _assign(turn: Turn, member: Standing, digest: str) -> int:
    """Assign ``digest`` if the registry has it and nobody else assigned meanwhile."""
    if member.assigned_gen != member.gen or not member.active:
        return member.gen
    if not inventory.is_registered(turn.connection, digest):
        return member.gen  # such as the bundle that the image came with
    return turn.assignments.set_assignment(
        turn.connection,
        device=member.device,
        slot=turn.now.slot,
        bundle=digest,
        rollout=turn.now.id,
        attempt=max(1, member.attempt),
        probation=turn.now.spec.probation,
        downgrade_ok_from=inventory.bundle_serial(turn.connection, turn.now.bundle),
    )
