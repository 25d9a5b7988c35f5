"""Every pair of state and event was thought about, and every life ends."""

import itertools
from collections.abc import Mapping

import pytest

from edgeops.errors import TransitionError
from fleet.rollouts.machine import (
    MEMBER,
    OPEN,
    ROLLOUT,
    STAGE,
    TICKED,
    MemberEvent,
    MemberState,
    RolloutEvent,
    RolloutState,
    StageEvent,
    StageState,
    next_event,
    step,
)

FINAL_ROLLOUTS = {RolloutState.REVERTED, RolloutState.SUPERSEDED, RolloutState.REJECTED}


@pytest.mark.parametrize(
    ("table", "states", "events"),
    [
        (ROLLOUT, RolloutState, RolloutEvent),
        (STAGE, StageState, StageEvent),
        (MEMBER, MemberState, MemberEvent),
    ],
)
def test_what_is_not_in_the_table_raises_and_names_both(
    table: Mapping[tuple[RolloutState, RolloutEvent], RolloutState],
    states: type[RolloutState],
    events: type[RolloutEvent],
) -> None:
    for state, event in itertools.product(states, events):
        if (state, event) in table:
            assert isinstance(step(table, state, event), states)
        else:
            with pytest.raises(TransitionError, match=f"{event} is not possible while {state}"):
                step(table, state, event)


def test_every_state_can_be_reached_and_every_event_happens() -> None:
    for table, states, events, first in (
        (ROLLOUT, RolloutState, RolloutEvent, RolloutState.DRAFT),
        (STAGE, StageState, StageEvent, StageState.PLANNED),
        (MEMBER, MemberState, MemberEvent, MemberState.WAITING),
    ):
        assert {*table.values(), first} == set(states)
        assert {event for _, event in table} == set(events)


def test_final_rollouts_stay_as_they_are() -> None:
    assert {state for state in RolloutState if all(s is not state for s, _ in ROLLOUT)} == (
        FINAL_ROLLOUTS
    )
    assert not OPEN & FINAL_ROLLOUTS
    assert TICKED < OPEN


def test_every_open_rollout_can_be_ended_by_an_operator() -> None:
    ends = {RolloutEvent.ABORT_ASKED, RolloutEvent.REVERT_ASKED, RolloutEvent.OVERTAKEN}
    for state in OPEN:
        assert any((state, event) in ROLLOUT for event in ends), state


def test_states_have_one_word_for_people_and_a_cause() -> None:
    assert (RolloutState.PAUSED_AUTO.word, RolloutState.PAUSED_AUTO.cause) == ("paused", "auto")
    assert (RolloutState.RUNNING.word, RolloutState.RUNNING.cause) == ("running", None)
    assert RolloutState.AWAITING_APPROVAL.word == "awaiting-approval"
    assert RolloutState.ABORTING_REVERT.cause == "revert"


@pytest.mark.parametrize("state", list(StageState))
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("soaked", [False, True])
@pytest.mark.parametrize("passes", [False, True])
def test_what_happens_to_a_stage_is_always_legal(
    state: StageState, *, busy: bool, soaked: bool, passes: bool
) -> None:
    event = next_event(state, busy=busy, soaked=soaked, passes=passes)
    if event is not None:
        step(STAGE, state, event)
    assert event is not StageEvent.PASSED or not busy
