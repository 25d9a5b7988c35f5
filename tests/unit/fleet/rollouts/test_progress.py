"""What one report means for one member."""

from dataclasses import replace

import pytest

from edgeops.contracts.update import Reason, UpdateState
from fleet.rollouts.machine import MemberEvent, MemberState
from fleet.rollouts.progress import (
    Said,
    Standing,
    bundle_before,
    observe,
    observe_committed,
    observe_reverting,
    retry_delay_s,
)
from tests.unit.fleet.rollouts.simulated import NEW, OLD

SAID = Said(
    gen=3,
    state=UpdateState.COMMITTED,
    running=NEW,
    previous=OLD,
    serial=2,
    reason=None,
    detail="",
)
MEMBER = Standing(
    device="d1",
    k=0,
    state=MemberState.UPDATING,
    attempt=1,
    transients=0,
    gen=3,
    assigned_gen=3,
    since_at=100.0,
    before=OLD,
    before_serial=1,
    reason="",
    detail="",
    active=True,
    online=True,
    said=SAID,
)


def event_of(member: Standing, *, watched: float = 100.0) -> MemberEvent | None:
    found = observe(member, bundle=NEW, watched=watched, timeout_s=60.0, retries=1)
    return None if found is None else found.event


def saying(state: UpdateState, reason: Reason | None = None, *, running: str = OLD) -> Standing:
    return replace(MEMBER, said=replace(SAID, state=state, reason=reason, running=running))


@pytest.mark.parametrize(
    ("member", "event"),
    [
        (MEMBER, MemberEvent.PROVEN),
        (saying(UpdateState.COMMITTED), MemberEvent.FELL_BACK),
        (replace(MEMBER, said=replace(SAID, gen=2)), None),
        (replace(MEMBER, said=replace(SAID, gen=4)), None),
        (replace(MEMBER, said=None), None),
        (replace(MEMBER, active=False), MemberEvent.GONE),
        (replace(MEMBER, assigned_gen=4), MemberEvent.GONE),
        (saying(UpdateState.PROBATION, running=NEW), None),
        (saying(UpdateState.ROLLED_BACK, Reason.BEHAVIOUR), MemberEvent.BROKE),
        (saying(UpdateState.REJECTED, Reason.DISK_FULL), MemberEvent.BROKE),
        (saying(UpdateState.FALLBACK), MemberEvent.BROKE),  # no reason given
        (saying(UpdateState.REJECTED, Reason.SIGNATURE), MemberEvent.DOUBTED),
        (saying(UpdateState.REJECTED, Reason.NETWORK), MemberEvent.RETRIED),
        (saying(UpdateState.REJECTED, Reason.DEADLINE), MemberEvent.RETRIED),
        (replace(saying(UpdateState.REJECTED, Reason.NETWORK), transients=1), MemberEvent.SPENT),
    ],
)
def test_observation(member: Standing, event: MemberEvent | None) -> None:
    assert event_of(member) is event


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_ends_an_attempt(reason: Reason) -> None:
    assert event_of(saying(UpdateState.REJECTED, reason)) in {
        MemberEvent.BROKE,
        MemberEvent.DOUBTED,
        MemberEvent.RETRIED,
    }


def test_late_is_judged_by_who_could_have_spoken() -> None:
    half_way = saying(UpdateState.FETCH)
    assert event_of(half_way, watched=159.9) is None
    assert event_of(half_way, watched=160.0) is MemberEvent.BROKE
    assert event_of(replace(half_way, online=False), watched=160.0) is MemberEvent.BROKE
    never = replace(MEMBER, state=MemberState.ASSIGNED, said=None)
    assert event_of(never, watched=160.0) is MemberEvent.BROKE
    assert event_of(replace(never, online=False), watched=160.0) is MemberEvent.RETRIED
    assert event_of(MEMBER, watched=160.0) is MemberEvent.PROVEN, "late, but there"


def test_what_a_committed_member_says_later() -> None:
    committed = replace(MEMBER, state=MemberState.COMMITTED)
    assert observe_committed(committed, bundle=NEW) is None
    strayed = replace(committed, said=replace(SAID, running=OLD))
    found = observe_committed(strayed, bundle=NEW)
    assert found is not None
    assert found.event is MemberEvent.FELL_BACK
    for excused in (
        replace(strayed, assigned_gen=4),  # somebody else told it to
        replace(strayed, active=False),
        replace(strayed, said=None),
    ):
        assert observe_committed(excused, bundle=NEW) is None


def test_going_back_is_proven_too() -> None:
    reverting = replace(MEMBER, state=MemberState.REVERTING)
    assert observe_reverting(reverting) is None, "says it committed, but runs the new one"
    back = replace(reverting, said=replace(SAID, running=OLD))
    found = observe_reverting(back)
    assert found is not None
    assert found.event is MemberEvent.WENT_BACK
    assert observe_reverting(replace(back, said=replace(SAID, running=OLD, gen=2))) is None
    stuck = observe_reverting(
        replace(reverting, said=replace(SAID, state=UpdateState.REJECTED, reason=Reason.SERIAL))
    )
    assert stuck is not None
    assert (stuck.event, stuck.reason) == (MemberEvent.STUCK, "serial")


def test_what_a_device_would_go_back_to() -> None:
    assert bundle_before(None, NEW) is None
    assert bundle_before(SAID, NEW) is None, "it runs the bundle already"
    assert bundle_before(replace(SAID, running=OLD, serial=1), NEW) == (OLD, 1)
    other = f"sha256:{'7' * 64}"
    unproven = replace(SAID, state=UpdateState.PROBATION, running=other)
    assert bundle_before(unproven, NEW) == (OLD, None)


def test_retries_wait_longer_each_time_and_not_for_ever() -> None:
    assert [retry_delay_s(n) for n in (0, 1, 2, 3)] == [0.0, 10.0, 20.0, 40.0]
    assert retry_delay_s(1000) == 600.0
