"""A new bundle is judged by figures alone, and faults outrank success."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.update.ports import SlotHealth
from agent.update.probation import judge, total_variation
from agent.update.rules import UpdateRules
from edgeops.contracts.update import Probation, Reason

RULES = UpdateRules()
WANTED = Probation(s=60.0, frames=100)
counts = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 1000), min_size=1)


def health(
    elapsed_s: float = 60.0,
    frames: int = 100,
    *,
    errors: int = 0,
    bad_outputs: int = 0,
    restarts: int = 0,
    p95_ms: float = 5.0,
    labels: dict[str, int] | None = None,
) -> SlotHealth:
    return SlotHealth(
        elapsed_s=elapsed_s,
        frames=frames,
        errors=errors,
        bad_outputs=bad_outputs,
        restarts=restarts,
        p95_ms=p95_ms,
        label_counts=labels or {},
    )


def test_time_and_frames_must_both_have_passed() -> None:
    assert not judge(RULES, WANTED, health(59.0, 100), {}).proved
    assert not judge(RULES, WANTED, health(60.0, 99), {}).proved
    assert judge(RULES, WANTED, health(60.0, 100), {}).proved


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        (health(1.0, 5, restarts=2), Reason.CRASH),
        (health(1.0, 20, bad_outputs=3), Reason.BAD_OUTPUT),
        (health(1.0, 0, errors=20), Reason.BAD_OUTPUT),
        (health(1.0, 20, p95_ms=1001.0), Reason.LATENCY),
        (health(120.0, 0), Reason.NO_PROGRESS),
        (health(60.0, 100, labels={"a": 100}), Reason.BEHAVIOUR),
    ],
)
def test_a_fault_fails_the_bundle(figures: SlotHealth, reason: Reason) -> None:
    verdict = judge(RULES, WANTED, figures, {"b": 100})
    assert verdict.failed is reason
    assert not verdict.proved
    assert verdict.detail


@pytest.mark.parametrize(
    "figures",
    [
        health(1.0, 5, restarts=1),
        health(1.0, 20, bad_outputs=2),
        health(1.0, 3, bad_outputs=3),  # too few to mean anything
        health(1.0, 20, p95_ms=1000.0),
        health(119.0, 0),
        health(1.0, 49, labels={"a": 49}),
        health(1.0, 100, labels={"a": 100}),  # a mix is judged at the end
    ],
)
def test_what_is_not_sure_is_watched_on(figures: SlotHealth) -> None:
    verdict = judge(RULES, WANTED, figures, {"b": 100})
    assert verdict.failed is None
    assert not verdict.proved


def test_without_a_bundle_before_there_is_no_mix_to_compare() -> None:
    assert judge(RULES, WANTED, health(labels={"a": 100}), {}).proved


@given(counts, counts)
def test_the_distance_of_two_mixes_is_a_metric_in_0_to_1(
    first: dict[str, int], second: dict[str, int]
) -> None:
    distance = total_variation(first, second)
    assert 0.0 <= distance <= 1.0 + 1e-9
    assert distance == pytest.approx(total_variation(second, first))
    assert total_variation(first, first) == pytest.approx(0.0)
