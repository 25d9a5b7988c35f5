"""What an operator may ask for, and what is refused before anything starts."""

import re
from pathlib import Path

import pytest

from edgeops import codec
from edgeops.errors import ContractError
from edgeops.quantities import Duration
from fleet.rollouts.cohorts import Candidate
from fleet.rollouts.plan import make_plan
from fleet.rollouts.spec import (
    GateSpec,
    OnFail,
    RolloutSpec,
    SmallStage,
    StageSpec,
    parse_spec,
    read_spec,
    staged,
)
from tests.unit.fleet.rollouts.simulated import NEW, spec_of

POLICY = """
name: night shift
slot: main
selector: {labels: {line: "3"}, site: plant-7}
stages:
  - {count: 5, soak: 10m, max_in_flight: 2, attempt_timeout: 30m}
  - {percent: 25, soak: 1h}
  - {percent: 100, gate: {max_failure_rate: 0.02, on_fail: pause}}
gate: {max_failure_rate: 0.05, on_fail: abort-revert, small_stage: all, deadline: 2h}
retries: 1
probation: {s: 60, frames: 200}
approval: true
"""


def test_policy_file_with_the_bundle_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)

    spec = read_spec(path, overrides={"bundle": NEW})

    assert spec.bundle == NEW
    assert spec.stages[0] == StageSpec(
        count=5, soak=Duration(600), max_in_flight=2, attempt_timeout=Duration(1800)
    )
    assert spec.gate_of(0).on_fail is OnFail.ABORT_REVERT
    assert spec.gate_of(2).max_failure_rate == 0.02
    assert spec.probation.frames == 200


def test_stored_form_reads_back_the_same() -> None:
    spec = parse_spec(POLICY.encode(), name="policy", overrides={"bundle": NEW})
    assert codec.decode(codec.canonical(spec), RolloutSpec, where="spec") == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bundle: nope", "bundle"),
        ("stages: []", "stages"),
        ("stages: [{percent: 50}]", "the last stage to be percent: 100"),
        ("stages: [{percent: 50, count: 3}, {percent: 100}]", "either percent or count"),
        ("stages: [{soak: 1m}, {percent: 100}]", "either percent or count"),
        ("stages: [{percent: 50}, {percent: 20}, {percent: 100}]", "percent to grow"),
        ("stages: [{count: 5}, {count: 5}, {percent: 100}]", "count to grow"),
        ("stages: [{percent: 100, max_in_flight: 0}]", "max_in_flight"),
        ("stages: [{percent: 100, attempt_timeout: 0s}]", "attempt_timeout above 0"),
        ("gate: {max_failure_rate: 0}", "max_failure_rate"),
        ("gate: {on_fail: explode}", "on_fail"),
        ("gate: {max_failure_rat: 0.1}", "did you mean 'max_failure_rate'"),
        ("retries: -1", "retries"),
        ('selector: {labels: {"a\\"b": x}}', "labels"),
        ("colour: green", "unknown key"),
    ],
)
def test_faults_are_one_sentence_with_the_place(text: str, message: str) -> None:
    overrides = {} if text.startswith("bundle") else {"bundle": NEW}
    with pytest.raises(ContractError, match=re.escape(message)):
        parse_spec(text.encode(), name="policy.yaml", overrides=overrides)


def test_short_flags() -> None:
    stages = staged(canary=5, percents=[25], soak=Duration(60), max_in_flight=7)
    assert [(s.count, s.percent) for s in stages] == [(5, None), (None, 25), (None, 100)]
    assert {(s.soak, s.max_in_flight) for s in stages} == {(60.0, 7)}
    assert len(staged()) == 1
    with pytest.raises(ContractError, match="percent"):
        staged(percents=[120, 100])


def fleet_of(count: int) -> list[Candidate]:
    return [Candidate(device=f"d{i}") for i in range(count)]


def test_stage_that_could_never_pass_is_refused_with_the_number_it_takes() -> None:
    spec = spec_of(StageSpec(count=20), StageSpec(percent=100))
    with pytest.raises(ContractError, match=r"stages\[0\].*20 devices, and only 59 or more"):
        make_plan(spec, fleet_of(500), fleet=500, salt="s")


def test_small_fleet_takes_the_weaker_proof_and_says_so() -> None:
    spec = spec_of(StageSpec(count=20), StageSpec(percent=100))
    plan = make_plan(spec, fleet_of(150), fleet=150, salt="s")
    assert [stage.small_stage for stage in plan.stages] == [SmallStage.ALL] * 2
    assert len(plan.notices) == 1
    assert "fewer than the 59" in plan.notices[0]


def test_large_fleet_may_ask_for_the_weaker_proof_and_a_small_one_for_the_stronger() -> None:
    stages = (StageSpec(count=20), StageSpec(percent=100))
    weak = spec_of(*stages, gate=GateSpec(small_stage=SmallStage.ALL))
    assert make_plan(weak, fleet_of(500), fleet=500, salt="s").notices
    strong = spec_of(*stages, gate=GateSpec(small_stage=SmallStage.WILSON))
    with pytest.raises(ContractError, match="can never pass"):
        make_plan(strong, fleet_of(100), fleet=100, salt="s")


def test_the_size_of_the_whole_fleet_decides_not_that_of_the_selection() -> None:
    spec = spec_of()
    with pytest.raises(ContractError, match="can never pass"):
        make_plan(spec, fleet_of(10), fleet=5000, salt="s")


def test_stages_that_add_nobody_are_left_out_and_named() -> None:
    spec = spec_of(*staged(canary=5, percents=[25, 100]))
    plan = make_plan(spec, fleet_of(3), fleet=3, salt="s")
    assert [(stage.number, len(stage.devices)) for stage in plan.stages] == [(0, 3)]
    assert [notice.split(" in a fleet")[0] for notice in plan.notices[1:]] == [
        "stage 2 adds no device",
        "stage 3 adds no device",
    ]


def test_nobody_to_roll_out_to_is_refused() -> None:
    with pytest.raises(ContractError, match="matches no enrolled device"):
        make_plan(spec_of(), [], fleet=5, salt="s")
