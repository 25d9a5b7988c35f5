"""What a device's report means for its place in a rollout. Pure.

Success is proof: only a report that speaks of *our* generation, in state ``committed``, running
exactly the assigned digest, counts. What a device says about an older generation says nothing.
"""

from dataclasses import dataclass
from typing import Final

from edgeops.contracts.update import FAILED_STATES, Reason, ReasonClass, UpdateState
from fleet.rollouts.machine import MemberEvent, MemberState

TIMEOUT: Final = "attempt-timeout"
OTHER_BUNDLE: Final = "other-bundle"
UNREACHED: Final = "unreached"
DECOMMISSIONED: Final = "decommissioned"
TAKEN_OVER: Final = "taken-over"
NEWER: Final = "runs-a-newer-serial"
NOTHING_BEFORE: Final = "nothing-to-go-back-to"

RETRY_FIRST_S: Final = 10.0
RETRY_MOST_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One slot as the device's newest report has it."""

    gen: int
    state: UpdateState
    running: str | None
    previous: str | None
    serial: int
    reason: Reason | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One member as the server knows it.

    Attributes:
        k: Its stage.
        gen: Generation of our newest assignment to it; 0 before the first.
        assigned_gen: Generation of its newest assignment, whoever made it.
        since_at: ``watched`` time at which the present state began.
        before: Digest it ran before the first attempt.
        said: ``None`` where it never reported this slot.
    """

    device: str
    k: int
    state: MemberState
    attempt: int
    transients: int
    gen: int
    assigned_gen: int
    since_at: float
    before: str | None
    before_serial: int | None
    reason: str
    detail: str
    active: bool
    online: bool
    said: Said | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What happened to a member, and why in a word and a sentence."""

    event: MemberEvent
    reason: str = ""
    detail: str = ""


def observe(
    member: Standing, *, bundle: str, watched: float, timeout_s: float, retries: int
) -> Finding | None:
    """Return what became of a member that is on the way; ``None``: nothing new.

    Args:
        member: In state assigned or updating.
        bundle: Digest that the rollout brings.
        watched: Now.
        timeout_s: How long an attempt may take.
        retries: Further attempts after transient failures.
    """
    if (gone := _gone(member)) is not None:
        return gone
    late = watched - member.since_at >= timeout_s
    said = member.said
    if said is None or said.gen != member.gen:
        return _not_taken_up(member) if late else None
    if said.state is UpdateState.COMMITTED:
        return _claims_success(said, bundle)
    if said.state in FAILED_STATES:
        return _ended(member, said, retries)
    if member.state is MemberState.ASSIGNED:
        return Finding(event=MemberEvent.BEGAN)
    detail = f"still {said.state.value} after {timeout_s:.0f} s"
    return Finding(event=MemberEvent.BROKE, reason=TIMEOUT, detail=detail) if late else None


def observe_committed(member: Standing, *, bundle: str) -> Finding | None:
    """Return what became of a member that had committed; ``None``: it still runs the bundle."""
    if not member.active:
        return None  # what it proved stays proven
    if member.assigned_gen != member.gen or member.said is None or member.said.running == bundle:
        return None
    return Finding(
        event=MemberEvent.FELL_BACK,
        reason=member.said.reason.value if member.said.reason else OTHER_BUNDLE,
        detail=member.said.detail or f"had committed and runs {member.said.running} now",
    )


def observe_reverting(member: Standing) -> Finding | None:
    """Return what became of a member that was told to go back; ``None``: still on the way."""
    if (gone := _gone(member)) is not None:
        return gone
    said = member.said
    if said is None or said.gen != member.gen:
        return None
    if said.state is UpdateState.COMMITTED and said.running == member.before:
        return Finding(event=MemberEvent.WENT_BACK)
    if said.state in FAILED_STATES:
        reason = said.reason.value if said.reason else said.state.value
        return Finding(event=MemberEvent.STUCK, reason=reason, detail=said.detail)
    return None


def retry_delay_s(transients: int) -> float:
    """Return how long to wait before the attempt after ``transients`` transient failures."""
    if transients == 0:
        return 0.0
    return min(RETRY_MOST_S, RETRY_FIRST_S * 2.0 ** min(transients - 1, 10))


def bundle_before(said: Said | None, bundle: str) -> tuple[str, int | None] | None:
    """Return digest and serial of what a device would go back to; ``None``: nothing to go back to.

    A device in the middle of another update runs something that is not proven, so that the one
    before it counts; its serial is not known then.
    """
    if said is None:
        return None
    unproven = said.state in {UpdateState.ACTIVATING, UpdateState.PROBATION}
    digest = said.previous if unproven else said.running
    if digest is None or digest == bundle:
        return None
    return digest, None if unproven else said.serial


def _gone(member: Standing) -> Finding | None:
    if not member.active:
        return Finding(event=MemberEvent.GONE, reason=DECOMMISSIONED)
    if member.assigned_gen != member.gen:
        return Finding(event=MemberEvent.GONE, reason=TAKEN_OVER)
    return None


def _claims_success(said: Said, bundle: str) -> Finding:
    if said.running == bundle:
        return Finding(event=MemberEvent.PROVEN)
    detail = f"says committed and runs {said.running}"
    return Finding(event=MemberEvent.FELL_BACK, reason=OTHER_BUNDLE, detail=detail)


def _not_taken_up(member: Standing) -> Finding:
    if member.online:
        detail = f"connected, but did not take up generation {member.gen}"
        return Finding(event=MemberEvent.BROKE, reason=TIMEOUT, detail=detail)
    # Never reached: says nothing about the bundle and uses up no retry.
    return Finding(event=MemberEvent.RETRIED, reason=UNREACHED)


def _ended(member: Standing, said: Said, retries: int) -> Finding:
    reason = said.reason.value if said.reason else said.state.value
    # A device that fails without a reason does not get the benefit of the doubt.
    blame = said.reason.blame if said.reason else ReasonClass.DEVICE
    if blame in {ReasonClass.DEVICE, ReasonClass.BUNDLE}:
        event = MemberEvent.BROKE
    elif blame is ReasonClass.SECURITY:
        event = MemberEvent.DOUBTED
    elif member.transients < retries:
        event = MemberEvent.RETRIED
    else:
        event = MemberEvent.SPENT
    return Finding(event=event, reason=reason, detail=said.detail)
