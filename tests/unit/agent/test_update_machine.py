"""The update table is complete and leads to a rest."""

import pytest

from agent.update.machine import (
    BEFORE_ACTIVATION,
    COMMITTING,
    RESTING,
    RESUME,
    TABLE,
    Event,
    step,
)
from edgeops.contracts.update import UpdateState as State
from edgeops.errors import TransitionError

IMPOSSIBLE = {
    *((state, Event.ASSIGNED) for state in COMMITTING),  # a new assignment waits
    *((state, Event.ALREADY) for state in State if state is not State.ASSIGNED),
    *((state, Event.FAILED) for state in RESTING),
    *((state, Event.LOST) for state in State if state in {State.IDLE, State.FALLBACK}),
    *((state, Event.LOST) for state in BEFORE_ACTIVATION | COMMITTING),
    *(
        (state, Event.BROKE)
        for state in State
        if state not in {State.META, State.FETCH, State.ROLLING_BACK}
    ),
    (State.IDLE, Event.DONE),
    *((State.SHADOW, event) for event in Event),  # this release does no shadow runs
}


def test_every_pair_of_state_and_event_was_thought_about() -> None:
    assert set(TABLE) | IMPOSSIBLE == {(state, event) for state in State for event in Event}
    assert not set(TABLE) & IMPOSSIBLE


@pytest.mark.parametrize(("state", "event"), sorted(IMPOSSIBLE))
def test_an_illegal_event_changes_nothing(state: State, event: Event) -> None:
    with pytest.raises(TransitionError, match=f"{event} is not legal while {state}"):
        step(state, event)


def test_success_leads_from_the_assignment_to_the_commit() -> None:
    state = State.IDLE
    visited = []
    for event in (Event.ASSIGNED, *[Event.DONE] * 7):
        state, _ = step(state, event)
        visited.append(state)
    assert visited == [
        "assigned", "meta", "fetch", "staged", "preflight", "activating", "probation", "committed",
    ]  # fmt: skip


@pytest.mark.parametrize("state", sorted(BEFORE_ACTIVATION))
def test_a_failure_before_activation_rejects(state: State) -> None:
    assert step(state, Event.FAILED)[0] is State.REJECTED


@pytest.mark.parametrize("state", [State.ACTIVATING, State.PROBATION])
def test_a_failure_after_activation_rolls_back(state: State) -> None:
    state, _ = step(state, Event.FAILED)
    assert state is State.ROLLING_BACK
    assert step(state, Event.DONE)[0] is State.ROLLED_BACK
    assert step(state, Event.FAILED)[0] is State.FALLBACK


def test_a_restart_repeats_the_effects_that_led_into_each_state() -> None:
    assert set(RESUME) | {State.IDLE, State.SHADOW} == set(State)
    for state, effects in RESUME.items():
        entering = {
            row[1] for (source, event), row in TABLE.items()
            if row[0] is state and source is not state
        }  # fmt: skip
        assert entering == {effects}
