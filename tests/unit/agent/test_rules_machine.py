"""One rule over evidence time, by examples and by what must always hold."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.machine import (
    Effect,
    Evidence,
    Phase,
    RuleState,
    Timing,
    missing,
    opened,
    restarted,
    step,
)
from edgeops import codec

PERIOD_S = 0.1


class Bench:
    """Feeds one rule and notes when it raised, cleared or held back."""

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.state = RuleState()
        self.t = 0.0
        self.log: list[tuple[Effect, float]] = []

    def feed(
        self, seconds: float, *, when: bool, clear: bool | None = None, period_s: float = PERIOD_S
    ) -> None:
        for _ in range(round(seconds / period_s)):
            self.t = round(self.t + period_s, 6)
            self.see(when=when, clear=not when if clear is None else clear)

    def see(self, *, when: bool, clear: bool) -> None:
        self.state, effects = step(self.state, Evidence(self.t, when, clear), self.timing)
        for effect in effects:
            self.log.append((effect, self.t))
            if effect is Effect.RAISE:
                self.state = opened(self.state, f"alert-{len(self.log)}", self.timing)

    def times(self, effect: Effect) -> list[float]:
        return [t for found, t in self.log if found is effect]


def test_without_durations_one_piece_of_evidence_raises_and_clears() -> None:
    bench = Bench(Timing())
    bench.feed(0.3, when=False)
    bench.feed(0.2, when=True)
    bench.feed(0.1, when=False)

    assert bench.log == [(Effect.RAISE, 0.4), (Effect.CLEAR, 0.6)]


def test_a_condition_must_hold_for_its_time() -> None:
    bench = Bench(Timing(for_s=1.0, clear_for_s=2.0))
    bench.feed(1.0, when=False)
    bench.feed(0.9, when=True)  # nine distances of 0.1 s are not yet a second
    bench.feed(0.1, when=False)
    bench.feed(1.1, when=True)
    bench.feed(1.9, when=False)
    bench.feed(0.1, when=True)
    bench.feed(3.0, when=False)

    assert bench.times(Effect.RAISE) == [3.1]
    assert bench.times(Effect.CLEAR) == [7.2]


def test_a_flickering_condition_never_raises() -> None:
    bench = Bench(Timing(for_s=1.0))
    for _ in range(50):
        bench.feed(0.9, when=True)
        bench.feed(0.1, when=False)

    assert bench.log == []


def test_hysteresis_keeps_the_alert_between_the_two_conditions() -> None:
    bench = Bench(Timing())
    bench.feed(0.5, when=True)
    bench.feed(5.0, when=False, clear=False)
    bench.feed(0.5, when=True)
    bench.feed(0.1, when=False, clear=True)

    assert [effect for effect, _ in bench.log] == [Effect.RAISE, Effect.CLEAR]


def test_a_hole_in_the_evidence_does_not_count() -> None:
    bench = Bench(Timing(for_s=1.0))
    bench.feed(0.5, when=False)
    bench.feed(0.5, when=True)
    bench.t += 30.0
    bench.see(when=True, clear=False)
    bench.feed(0.4, when=True)
    assert bench.log == []

    bench.feed(0.2, when=True)
    assert bench.times(Effect.RAISE) == [pytest.approx(31.6)]


def test_a_source_that_becomes_slower_still_raises() -> None:
    bench = Bench(Timing(for_s=5.0))
    bench.feed(1.0, when=False, period_s=0.1)
    bench.feed(20.0, when=True, period_s=1.0)

    assert len(bench.times(Effect.RAISE)) == 1


def test_cooldown_starts_with_a_sent_alert_and_held_back_ones_do_not_prolong_it() -> None:
    bench = Bench(Timing(cooldown_s=10.0))
    bench.feed(0.1, when=False)
    bench.feed(1.0, when=True)  # raised at 0.2
    bench.feed(3.0, when=False)
    bench.feed(1.0, when=True)  # held back
    bench.feed(4.0, when=False)
    bench.feed(4.0, when=True)  # held back, then raised when the cooldown is over

    assert bench.times(Effect.RAISE) == [0.2, 10.2]
    assert len(bench.times(Effect.SUPPRESS)) == 2


def test_missing_data_is_unknown_and_keeps_an_open_alert() -> None:
    bench = Bench(Timing(for_s=0.5))
    bench.feed(0.4, when=True)
    bench.state = missing(bench.state)
    assert bench.state.phase is Phase.UNKNOWN
    bench.feed(0.4, when=True)  # what was held before the silence is forgotten
    assert bench.log == []
    bench.feed(0.5, when=True)
    bench.state = missing(bench.state)
    bench.feed(0.3, when=True)
    assert len(bench.times(Effect.RAISE)) == 1
    bench.feed(0.1, when=False)
    assert len(bench.times(Effect.CLEAR)) == 1


def test_time_that_goes_back_counts_for_nothing() -> None:
    bench = Bench(Timing(for_s=1.0))
    bench.feed(0.8, when=True)
    bench.t = 0.0
    bench.see(when=True, clear=False)
    assert bench.log == []
    bench.feed(0.4, when=True)
    assert len(bench.times(Effect.RAISE)) == 1


evidence = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([0.1, 0.1, 0.1, 0.5, 7.0])),
    max_size=120,
)
timings = st.builds(
    Timing,
    for_s=st.sampled_from([0.0, 0.3, 1.0]),
    clear_for_s=st.sampled_from([0.0, 0.3, 1.0]),
    cooldown_s=st.sampled_from([0.0, 2.0]),
)


@given(pieces=evidence, timing=timings)
def test_alerts_are_raised_and_cleared_in_turn(
    pieces: list[tuple[bool, bool, float]], timing: Timing
) -> None:
    bench = Bench(timing)
    for when, clear, passed_s in pieces:
        bench.t += passed_s
        bench.see(when=when, clear=clear)
        is_open = bench.state.phase in {Phase.FIRING, Phase.CLEARING}
        assert bool(bench.state.alert_id) is is_open

    turns = [effect for effect, _ in bench.log if effect is not Effect.SUPPRESS]
    assert all(
        effect is (Effect.RAISE if number % 2 == 0 else Effect.CLEAR)
        for number, effect in enumerate(turns)
    )


@given(pieces=evidence, timing=timings)
def test_no_two_alerts_are_closer_than_the_cooldown(
    pieces: list[tuple[bool, bool, float]], timing: Timing
) -> None:
    bench = Bench(timing)
    for when, clear, passed_s in pieces:
        bench.t += passed_s
        bench.see(when=when, clear=clear)

    raised = bench.times(Effect.RAISE)
    assert all(b - a >= timing.cooldown_s - 1e-3 for a, b in pairwise(raised))


@given(pieces=evidence, timing=timings, cut=st.integers(min_value=0, max_value=119))
def test_a_restart_from_disk_fires_nothing_twice_and_forgets_nothing(
    pieces: list[tuple[bool, bool, float]], timing: Timing, cut: int
) -> None:
    bench = Bench(timing)
    for number, (when, clear, passed_s) in enumerate(pieces):
        if number == cut:
            stored = codec.canonical(bench.state)
            was = bench.state
            bench.state = restarted(codec.decode(stored, RuleState, where="state"))
            assert replace(was, last_t=None, distances=()) == bench.state
        bench.t += passed_s
        bench.see(when=when, clear=clear)

    turns = [effect for effect, _ in bench.log if effect is not Effect.SUPPRESS]
    assert all(
        effect is (Effect.RAISE if number % 2 == 0 else Effect.CLEAR)
        for number, effect in enumerate(turns)
    )
