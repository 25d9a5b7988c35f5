"""How often the gate stops good bundles and catches bad ones, looked at after every report.

The bounds are those that the design publishes (20 000 stages each). Here fewer stages are drawn,
with a fixed seed, through the very ``judge`` that the engine calls; the tolerance is four standard
errors of the drawn number, plus half a point for the published rounding.
"""

import math
import random
from functools import cache

import pytest

from fleet.rollouts.policy import GateRule, Tally, Verdict, judge
from fleet.rollouts.spec import SmallStage

STAGES = 1500
RULE = GateRule(max_failure_rate=0.05, min_n=5, small_stage=SmallStage.WILSON)


@cache
def verdict_of(attempted: int, failures: int) -> Verdict:
    tally = Tally(committed=attempted - failures, failed=failures, waiting=1)
    return judge(RULE, tally).verdict


def run_stage(draw: random.Random, size: int, bad: float, offline: float) -> tuple[bool, bool]:
    """Return whether a stage was ever stopped, and whether it was ever proven bad."""
    attempted = failures = 0
    stopped = reverted = False
    for _ in range(size):
        fails, reached = draw.random() < bad, draw.random() >= offline
        if reached:
            attempted += 1
            failures += fails
            verdict = verdict_of(attempted, failures)
            # The proof of the e-process stops a stage as well.
            stopped |= verdict in {Verdict.PAUSE, Verdict.REVERT}
            reverted |= verdict is Verdict.REVERT
    return stopped, reverted


@pytest.mark.parametrize(
    ("size", "bad", "offline", "wilson", "e_process"),
    [
        (50, 0.01, 0.0, 0.009, 0.000),
        (50, 0.03, 0.0, 0.080, 0.004),
        (50, 0.10, 0.0, 0.675, 0.198),
        (50, 0.20, 0.0, 0.986, 0.848),
        (50, 0.20, 0.6, 0.850, 0.460),
        (200, 0.01, 0.0, 0.008, 0.000),
        (200, 0.03, 0.0, 0.084, 0.005),
        (200, 0.10, 0.0, 0.955, 0.598),
    ],
)
def test_rates_are_the_published_ones(
    size: int, bad: float, offline: float, wilson: float, e_process: float
) -> None:
    draw = random.Random(f"{size} {bad} {offline}")  # noqa: S311  # a simulation
    results = [run_stage(draw, size, bad, offline) for _ in range(STAGES)]
    for rate, published in (
        (sum(stopped for stopped, _ in results) / STAGES, wilson),
        (sum(reverted for _, reverted in results) / STAGES, e_process),
    ):
        error = math.sqrt(max(published, 0.002) * (1 - published) / STAGES)
        assert abs(rate - published) <= 4 * error + 0.005, (rate, published)


def test_a_bundle_at_the_limit_is_reverted_less_often_than_alpha() -> None:
    """Ville's inequality, with 200 looks at each stage."""
    draw = random.Random(7)  # noqa: S311  # a simulation
    reverted = sum(run_stage(draw, 200, 0.05, 0.0)[1] for _ in range(STAGES))
    assert reverted / STAGES <= 0.05


def test_a_bundle_worse_than_the_limit_seldom_passes() -> None:
    """The exact bound, looked at once when a stage has settled."""
    draw = random.Random(11)  # noqa: S311  # a simulation
    passed = 0
    for _ in range(STAGES):
        failures = sum(draw.random() < 0.06 for _ in range(100))
        tally = Tally(
            committed=100 - failures, failed=failures, acknowledged_failures=failures, soaked=True
        )
        passed += judge(RULE, tally).verdict is Verdict.PASS
    assert passed / STAGES <= 0.05
