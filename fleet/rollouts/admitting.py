"""Gives the bundle to the next devices, never to more at once than the stage allows."""

from typing import Final

from fleet.rollouts import inventory, members, store
from fleet.rollouts.machine import MemberEvent, MemberState
from fleet.rollouts.progress import NEWER, UNREACHED, Finding, Standing, bundle_before
from fleet.rollouts.store import Stage
from fleet.rollouts.turn import ASSIGNMENTS_PER_TURN, ROWS_PER_TURN, Turn, has_passed

JOIN_EVERY_S: Final = 10.0

_FAILED: Final = (MemberState.FAILED, MemberState.REGRESSED, MemberState.DISTRUSTED)


def places(turn: Turn, stage: Stage) -> int:
    """Return how many more devices may be away at once.

    A failed device that went offline still is away; those that an operator saw when resuming are
    forgiven, or a few broken devices could hold a rollout up for ever.
    """
    offline = members.count_offline(turn.connection, turn.now.id, stage.k, _FAILED)
    forgiven = stage.acknowledged_failures + stage.acknowledged_distrusted
    most = turn.now.spec.stages[stage.number].max_in_flight
    return most - turn.in_flight() - max(0, offline - forgiven)


def admit(turn: Turn, stage: Stage) -> None:
    """Assign the bundle to the next members of a stage."""
    free = min(places(turn, stage), ASSIGNMENTS_PER_TURN)
    if free <= 0:
        return
    serial = inventory.bundle_serial(turn.connection, turn.now.bundle)
    for member in members.admissible(turn.connection, turn.now, stage.k, limit=free):
        _admit_one(turn, member, serial)


def let_newcomers_join(turn: Turn) -> None:
    """Add devices that were enrolled meanwhile to the last stage."""
    now = turn.now
    if now.watched < now.join_at:
        return
    turn.now = store.joined(turn.connection, now, now.watched + JOIN_EVERY_S)
    devices = inventory.newcomers(turn.connection, now.id, now.spec.selector)
    if devices:
        last = len(turn.stages()) - 1
        start = members.total(turn.connection, now.id)
        members.add(turn.connection, now.id, last, devices, start=start)
        turn.record("joined", stage=last, body={"devices": len(devices)})


def skip_absent(turn: Turn, stage: Stage) -> None:
    """Stop waiting for devices that were never reached, where the policy says so."""
    after_s = turn.now.spec.skip_unreachable_after
    if after_s is None or not turn.is_last(stage):
        return
    if has_passed(turn.now.watched, stage.opened_at, after_s):
        absent = members.absent(turn.connection, turn.now, stage.k, limit=ROWS_PER_TURN)
        for member in absent:
            turn.move(member, Finding(event=MemberEvent.GONE, reason=UNREACHED))


def _admit_one(turn: Turn, member: Standing, serial: int) -> None:
    now, said = turn.now, member.said
    down_from = None
    if said is not None and said.running != now.bundle and said.serial > serial:
        down_from = said.serial
    if down_from is not None and not now.spec.downgrade_ok:
        turn.move(member, Finding(event=MemberEvent.GONE, reason=NEWER))
        return
    gen = turn.assignments.set_assignment(
        turn.connection,
        device=member.device,
        slot=now.slot,
        bundle=now.bundle,
        rollout=now.id,
        attempt=member.attempt + 1,
        probation=now.spec.probation,
        downgrade_ok_from=down_from,
    )
    values: dict[str, str | int | None] = {"gen": gen, "attempt": member.attempt + 1}
    before = bundle_before(said, now.bundle)
    if before is not None and member.before is None:
        values |= {"before": before[0], "before_serial": before[1]}
    turn.move(member, Finding(event=MemberEvent.ADMITTED), **values)
