"""The gate's decisions, as a table of numbers."""

import pytest

from fleet.rollouts.policy import Action, GateRule, Tally, Verdict, action, figures_of, judge
from fleet.rollouts.spec import OnFail, SmallStage

WILSON = GateRule(max_failure_rate=0.05, min_n=5, small_stage=SmallStage.WILSON)
ALL = GateRule(max_failure_rate=0.05, min_n=5, small_stage=SmallStage.ALL)
LAST = GateRule(max_failure_rate=0.05, min_n=5, small_stage=SmallStage.ALL, last=True)


@pytest.mark.parametrize(
    ("rule", "tally", "verdict"),
    [
        # on the way
        (WILSON, Tally(waiting=10), Verdict.WAIT),
        (WILSON, Tally(updating=10), Verdict.WAIT),
        (WILSON, Tally(assigned=1, committed=99), Verdict.WAIT),
        (WILSON, Tally(committed=100), Verdict.WAIT),  # soaking
        # proof of success
        (WILSON, Tally(committed=59, soaked=True), Verdict.PASS),
        (WILSON, Tally(committed=58, soaked=True), Verdict.INSUFFICIENT_DATA),
        (WILSON, Tally(committed=99, failed=1, soaked=True), Verdict.PASS),
        (WILSON, Tally(committed=92, failed=1, soaked=True), Verdict.PASS),
        (WILSON, Tally(committed=91, failed=1, soaked=True), Verdict.INSUFFICIENT_DATA),
        (WILSON, Tally(committed=70, unreachable=30, soaked=True), Verdict.PASS),
        # small stages
        (ALL, Tally(committed=3, soaked=True), Verdict.PASS),
        (ALL, Tally(committed=58, soaked=True), Verdict.PASS),
        (ALL, Tally(committed=2, failed=1, soaked=True), Verdict.FAIL),
        (ALL, Tally(committed=2, gave_up=1, soaked=True), Verdict.INSUFFICIENT_DATA),
        (ALL, Tally(committed=2, unreachable=1, soaked=True), Verdict.INSUFFICIENT_DATA),
        (ALL, Tally(committed=2, left=1, soaked=True), Verdict.PASS),
        (ALL, Tally(soaked=True), Verdict.INSUFFICIENT_DATA),
        (ALL, Tally(unreachable=50, soaked=True), Verdict.INSUFFICIENT_DATA),
        # a large stage needs the bound, whatever small stages need
        (ALL, Tally(committed=60, failed=1, soaked=True), Verdict.INSUFFICIENT_DATA),
        # the last stage waits for who is not reachable
        (LAST, Tally(committed=100, unreachable=1, soaked=True), Verdict.WAIT),
        (LAST, Tally(committed=100, unreachable=1, soaked=True, accepted=True), Verdict.PASS),
        # failures outrank everything
        (WILSON, Tally(committed=3, failed=2, waiting=50), Verdict.PAUSE),
        (WILSON, Tally(committed=2, failed=3, waiting=50), Verdict.REVERT),
        (WILSON, Tally(failed=2, waiting=50), Verdict.REVERT),
        (WILSON, Tally(failed=1, waiting=50), Verdict.WAIT),  # one says nothing
        (WILSON, Tally(committed=3, regressed=2, waiting=50), Verdict.PAUSE),
        (WILSON, Tally(committed=50, distrusted=1, waiting=50), Verdict.PAUSE),
        (WILSON, Tally(committed=100, gave_up=50, waiting=50), Verdict.WAIT),
        # failures report sooner than successes: who is on the way counts as attempted
        (WILSON, Tally(updating=97, failed=3), Verdict.WAIT),
        (WILSON, Tally(assigned=97, failed=3), Verdict.REVERT),  # nobody else took it up
        # the failed hold every place
        (WILSON, Tally(committed=50, failed=1, waiting=5, blocked=True), Verdict.PAUSE),
    ],
)
def test_verdict(rule: GateRule, tally: Tally, verdict: Verdict) -> None:
    judgement = judge(rule, tally)
    assert judgement.verdict is verdict, judgement.reason


def test_what_an_operator_has_seen_stops_nothing_again_but_a_new_failure_does() -> None:
    seen = Tally(committed=3, failed=2, waiting=5, acknowledged_failures=2)
    assert judge(WILSON, seen).verdict is Verdict.WAIT
    new = Tally(committed=3, failed=3, waiting=5, acknowledged_failures=2)
    assert judge(WILSON, new).verdict is Verdict.REVERT
    distrust = Tally(committed=3, distrusted=1, waiting=5, acknowledged_distrusted=1)
    assert judge(WILSON, distrust).verdict is Verdict.WAIT


def test_acceptance_does_not_skip_who_is_on_the_way_and_is_named_weak() -> None:
    assert judge(ALL, Tally(updating=1, accepted=True, soaked=True)).verdict is Verdict.WAIT
    passed = judge(
        ALL, Tally(committed=1, failed=1, acknowledged_failures=1, accepted=True, soaked=True)
    )
    assert (passed.verdict, passed.weak) == (Verdict.PASS, True)


def test_too_little_data_pauses_once_waiting_cannot_help() -> None:
    hopeless = judge(WILSON, Tally(committed=20, soaked=True))
    assert hopeless.pause_now
    hopeful = judge(WILSON, Tally(committed=20, unreachable=80, soaked=True))
    assert not hopeful.pause_now
    overdue = judge(WILSON, Tally(committed=20, unreachable=80, soaked=True, overdue=True))
    assert overdue.pause_now
    assert "80 of 100 devices are not reachable" in overdue.reason


def test_who_is_on_the_way_lowers_no_upper_bound() -> None:
    settled = figures_of(WILSON, Tally(committed=20))
    assert figures_of(WILSON, Tally(committed=20, updating=80)).upper == settled.upper
    assert settled.upper > 0.05


def test_small_stage_pass_is_named_weaker_proof() -> None:
    judgement = judge(ALL, Tally(committed=3, soaked=True))
    assert judgement.weak
    assert "weaker proof than the 59" in judgement.reason
    assert not judge(ALL, Tally(committed=59, soaked=True)).weak


@pytest.mark.parametrize(
    ("tally", "on_fail", "expected"),
    [
        (Tally(failed=2), OnFail.PAUSE, Action.PAUSE),
        (Tally(failed=2), OnFail.ABORT_KEEP, Action.ABORT_KEEP),
        (Tally(failed=2), OnFail.ABORT_REVERT, Action.ABORT_REVERT),
        # anything weaker than the always-valid proof can be undone
        (Tally(committed=3, failed=2), OnFail.ABORT_REVERT, Action.PAUSE),
        (Tally(committed=1, failed=1, soaked=True), OnFail.ABORT_REVERT, Action.PAUSE),
        (Tally(distrusted=1), OnFail.ABORT_REVERT, Action.PAUSE),
        (Tally(waiting=1), OnFail.ABORT_REVERT, Action.NOTHING),
        (Tally(unreachable=1, soaked=True), OnFail.PAUSE, Action.NOTHING),
        (Tally(unreachable=1, soaked=True, overdue=True), OnFail.PAUSE, Action.PAUSE),
        (Tally(committed=1, soaked=True), OnFail.PAUSE, Action.ADVANCE),
    ],
)
def test_action(tally: Tally, on_fail: OnFail, expected: Action) -> None:
    assert action(judge(ALL, tally), on_fail) is expected
