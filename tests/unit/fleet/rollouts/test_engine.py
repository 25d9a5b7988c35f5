"""Whole rollouts over a simulated fleet: the ways in which they end."""

import pytest
from sqlalchemy import select

from edgeops.contracts.update import Probation, UpdateState
from edgeops.quantities import Duration
from fleet.db import schema
from fleet.db.rollout_tables import rollout_evidence
from fleet.rollouts.spec import GateSpec, OnFail, Selector, StageSpec
from tests.unit.fleet.rollouts.simulated import (
    BAD,
    DISTRUSTS,
    HANGS,
    NEW,
    NEXT,
    NO_NETWORK,
    OLD,
    Fleet,
    spec_of,
)

CANARY_THEN_ALL = (StageSpec(count=3), StageSpec(percent=50), StageSpec(percent=100))


def test_healthy_rollout_takes_every_device_through_all_stages(fleet: Fleet) -> None:
    devices = fleet.add(12)
    rollout = fleet.create(spec_of(*CANARY_THEN_ALL, probation=Probation(s=5, frames=9)))

    done = fleet.run(rollout.id)

    assert (done.state, done.committed, done.failed) == ("completed", 12, 0)
    assert [stage.size for stage in done.stages] == [3, 3, 6]
    assert {device.running for device in devices} == {NEW}
    wanted = fleet.assigned(devices[0])
    assert wanted is not None
    assert (wanted.rollout, wanted.probation) == (rollout.id, Probation(s=5, frames=9))
    assert fleet.kinds(rollout.id) == [
        "created",
        "started",
        *["stage-opened", "stage-passed"] * 3,
        "completed",
    ]
    fleet.check_counters()


def test_next_stage_waits_for_the_one_before(fleet: Fleet) -> None:
    fleet.add(12)
    rollout = fleet.create(spec_of(*CANARY_THEN_ALL))

    fleet.tick()
    fleet.tick()

    stages = fleet.stage_of(rollout.id)
    states = fleet.states(rollout.id)
    assert {d for d, s in states.items() if s == "assigned"} == {
        d for d, k in stages.items() if k == 1
    }


def test_soak_time_passes_before_the_next_stage(fleet: Fleet) -> None:
    fleet.add(6)
    first = StageSpec(count=2, soak=Duration(100))
    rollout = fleet.create(spec_of(first, StageSpec(percent=100)))
    for _ in range(3):
        fleet.tick()
        fleet.act()
    fleet.tick()

    fleet.watch(95)
    assert fleet.show(rollout.id).stage == 1
    fleet.watch(10)
    assert fleet.show(rollout.id).stage == 2


def test_bad_bundle_is_stopped_in_the_canary(fleet: Fleet) -> None:
    for device in fleet.add(30):
        device.outcomes[NEW] = [BAD]
    rollout = fleet.create(spec_of(StageSpec(count=5), StageSpec(percent=100)))

    stopped = fleet.run(rollout.id)

    assert (stopped.state, stopped.cause, stopped.stage) == ("paused", "auto", 1)
    assert stopped.committed == 0
    assert "failed: proven above 5.0%" in stopped.reason
    assert sum(s != "waiting" for s in fleet.states(rollout.id).values()) == 5


def test_device_that_rolled_back_is_told_to_keep_what_it_runs(fleet: Fleet) -> None:
    device = fleet.add(1)[0]
    device.outcomes[NEW] = [BAD]
    fleet.create()

    for _ in range(8):
        fleet.tick()
        fleet.act()

    wanted = fleet.assigned(device)
    assert wanted is not None
    assert (wanted.bundle, device.running, wanted.gen) == (OLD, OLD, 2)


def test_one_failure_in_a_small_stage_pauses_and_acceptance_goes_on(fleet: Fleet) -> None:
    devices = fleet.add(8)
    rollout = fleet.create(spec_of(StageSpec(count=4), StageSpec(percent=100)))
    canary = [d for d in devices if fleet.stage_of(rollout.id)[d.id] == 1]
    canary[0].outcomes[NEW] = [BAD]

    paused = fleet.run(rollout.id)
    assert (paused.state, paused.stages[0].verdict) == ("paused", "fail")

    fleet.resume(rollout.id)
    assert fleet.run(rollout.id).state == "paused", "resuming alone is no acceptance"

    fleet.resume(rollout.id, accept=True)
    done = fleet.run(rollout.id)
    assert (done.state, done.committed, done.failed) == ("completed", 7, 1)
    assert fleet.kinds(rollout.id).count("stage-passed") == 2


def test_proof_of_failure_reverts_where_the_policy_says_so(fleet: Fleet) -> None:
    devices = fleet.add(20)
    rollout = fleet.create(
        spec_of(
            StageSpec(count=10, max_in_flight=2),
            StageSpec(percent=100),
            gate=GateSpec(on_fail=OnFail.ABORT_REVERT),
        )
    )
    order = list(fleet.states(rollout.id))
    for name in order[2:]:
        fleet.devices[name].outcomes[NEW] = [BAD]

    paused = fleet.run(rollout.id)
    assert (paused.state, paused.stages[0].verdict) == ("paused", "pause")
    for _ in range(2):  # those on the way fail too: the weaker sign becomes proof
        fleet.act()
        fleet.tick()
    done = fleet.run(rollout.id)

    assert done.state == "reverted"
    assert {device.running for device in devices} == {OLD}
    assert (done.devices["reverted"], done.devices["failed"]) == (2, 4)
    assert fleet.kinds(rollout.id).count("stopped") == 2


def test_abort_keep_leaves_the_proof_and_takes_back_the_rest(fleet: Fleet) -> None:
    devices = fleet.add(10)
    rollout = fleet.create(spec_of(StageSpec(percent=100, max_in_flight=4)))
    fleet.tick()
    fleet.act()
    fleet.act()
    fleet.tick()  # four committed, four more assigned
    with fleet.transaction() as connection:
        fleet.service.abort(connection, rollout.id)

    done = fleet.run(rollout.id)
    fleet.act()
    fleet.act()

    assert (done.state, done.committed) == ("aborted", 4)
    assert done.devices == {"waiting": 2, "committed": 4, "withdrawn": 4}
    assert sorted(d.running == NEW for d in devices) == [False] * 6 + [True] * 4


def test_completed_rollout_can_still_be_reverted(fleet: Fleet) -> None:
    devices = fleet.add(5)
    rollout = fleet.create()
    assert fleet.run(rollout.id).state == "completed"

    with fleet.transaction() as connection:
        fleet.service.revert(connection, rollout.id)
    done = fleet.run(rollout.id)

    assert (done.state, done.cause) == ("reverted", None)
    assert {device.running for device in devices} == {OLD}


def test_revert_leaves_alone_what_somebody_else_assigned_since(fleet: Fleet) -> None:
    device, other = fleet.add(2)
    rollout = fleet.create()
    fleet.run(rollout.id)
    with fleet.transaction() as connection:
        fleet.assigner.set_assignment(connection, device=device.id, slot="main", bundle=NEXT)
        fleet.service.revert(connection, rollout.id)

    assert fleet.run(rollout.id).state == "reverted"

    assert (device.running, other.running) == (NEXT, OLD)
    with fleet.transaction() as connection:
        reasons = {m.device: m.reason for m in fleet.service.members(connection, rollout.id)}
    assert reasons[device.id] == "taken-over"


def test_accepting_one_stage_says_nothing_about_those_before(fleet: Fleet) -> None:
    fleet.add(12)
    stages = (StageSpec(count=2), StageSpec(count=4), StageSpec(percent=100, max_in_flight=1))
    rollout = fleet.create(spec_of(*stages))
    stage_of = fleet.stage_of(rollout.id)
    first = fleet.devices[next(d for d, k in stage_of.items() if k == 1)]
    second = fleet.devices[next(d for d, k in stage_of.items() if k == 2)]
    second.outcomes[NEW] = [BAD]
    assert fleet.run(rollout.id).stage == 2
    fleet.resume(rollout.id, accept=True)
    fleet.tick()
    assert fleet.show(rollout.id).stage == 3

    first.running = OLD
    fleet.say(first, UpdateState.FALLBACK)
    fleet.tick()

    stopped = fleet.show(rollout.id)
    assert (stopped.state, stopped.reason[:8]) == ("paused", "stage 1:")


def test_first_installation_has_nothing_to_go_back_to(fleet: Fleet) -> None:
    devices = fleet.add(2, running=None)
    rollout = fleet.create()
    fleet.run(rollout.id)

    with fleet.transaction() as connection:
        fleet.service.revert(connection, rollout.id)
    done = fleet.run(rollout.id)

    assert done.state == "reverted"
    assert done.devices == {"left": 2}
    assert {device.running for device in devices} == {NEW}


def test_success_claimed_with_another_digest_is_a_failure(fleet: Fleet) -> None:
    device = fleet.add(1)[0]
    rollout = fleet.create()
    fleet.tick()
    device.gen = 1

    fleet.say(device, UpdateState.COMMITTED)  # still runs the old bundle
    fleet.tick()

    assert fleet.states(rollout.id) == {device.id: "regressed"}
    assert fleet.show(rollout.id).failed == 1


def test_success_claimed_for_an_older_generation_says_nothing(fleet: Fleet) -> None:
    device = fleet.add(1)[0]
    rollout = fleet.create()
    fleet.tick()
    device.running = NEW

    fleet.say(device, UpdateState.COMMITTED)  # gen 0
    fleet.tick()

    assert fleet.states(rollout.id) == {device.id: "assigned"}


def test_device_that_falls_back_later_counts_against_its_finished_stage(fleet: Fleet) -> None:
    fleet.add(10)
    rollout = fleet.create(spec_of(StageSpec(count=2), StageSpec(percent=100, max_in_flight=1)))
    while fleet.show(rollout.id).stage == 1:
        fleet.tick()
        fleet.act()
    first = next(d for d, k in fleet.stage_of(rollout.id).items() if k == 1)

    fleet.devices[first].running = OLD
    fleet.say(fleet.devices[first], UpdateState.FALLBACK)
    fleet.tick()

    assert fleet.states(rollout.id)[first] == "regressed"
    assert fleet.show(rollout.id).state == "paused"


def test_offline_devices_are_no_failures_and_come_later(fleet: Fleet) -> None:
    devices = fleet.add(6)
    for device in devices[:2]:
        fleet.set_online(device, online=False)
    rollout = fleet.create()

    waiting = fleet.run(rollout.id, ticks=20)
    assert (waiting.state, waiting.committed, waiting.unreachable) == ("running", 4, 2)
    assert waiting.failed == 0

    for device in devices[:2]:
        fleet.set_online(device, online=True)
    done = fleet.run(rollout.id)
    assert (done.state, done.committed) == ("completed", 6)


def test_stage_whose_devices_are_all_offline_pauses_after_the_deadline(fleet: Fleet) -> None:
    devices = fleet.add(6)
    gate = GateSpec(deadline=Duration(300))
    rollout = fleet.create(spec_of(StageSpec(count=2), StageSpec(percent=100), gate=gate))
    for device in devices:
        if fleet.stage_of(rollout.id)[device.id] == 1:
            fleet.set_online(device, online=False)

    fleet.watch(250)
    early = fleet.show(rollout.id)
    assert (early.state, early.stages[0].verdict) == ("running", "insufficient-data")
    fleet.watch(100)
    late = fleet.show(rollout.id)
    assert (late.state, late.cause, late.stage) == ("paused", "auto", 1)

    fleet.resume(rollout.id, accept=True)
    fleet.run(rollout.id, ticks=20)
    after = fleet.show(rollout.id)
    assert (after.state, after.committed, after.unreachable) == ("running", 4, 2)
    assert "postponed" not in fleet.kinds(rollout.id)  # resuming moved them before


def test_unreachable_devices_can_be_skipped_in_the_end(fleet: Fleet) -> None:
    devices = fleet.add(3)
    fleet.set_online(devices[0], online=False)
    rollout = fleet.create(spec_of(skip_unreachable_after=Duration(200)))

    assert fleet.run(rollout.id, ticks=10).state == "running"
    fleet.watch(250)

    done = fleet.show(rollout.id)
    assert (done.state, done.devices) == ("completed", {"committed": 2, "left": 1})


def test_device_that_goes_silent_half_way_fails_by_timeout(fleet: Fleet) -> None:
    device = fleet.add(1)[0]
    rollout = fleet.create(spec_of(StageSpec(percent=100, attempt_timeout=Duration(120))))
    fleet.tick()
    fleet.act()
    fleet.tick()
    fleet.set_online(device, online=False)

    fleet.watch(110)
    assert fleet.states(rollout.id) == {device.id: "updating"}
    fleet.watch(20)

    assert fleet.states(rollout.id) == {device.id: "failed"}
    assert fleet.show(rollout.id).state == "paused"


def test_probation_that_never_ends_fails_by_timeout(fleet: Fleet) -> None:
    device = fleet.add(1)[0]
    device.outcomes[NEW] = [HANGS]
    rollout = fleet.create(spec_of(StageSpec(percent=100, attempt_timeout=Duration(30))))

    done = fleet.run(rollout.id, ticks=50)

    assert (done.state, done.failed) == ("paused", 1)


def test_server_outage_does_not_time_attempts_out(fleet: Fleet) -> None:
    device = fleet.add(1)[0]
    rollout = fleet.create(spec_of(StageSpec(percent=100, attempt_timeout=Duration(120))))
    fleet.tick()
    fleet.act()
    fleet.tick()

    fleet.tick(7 * 86_400)
    fleet.tick(-30 * 86_400)  # and the wall clock was set

    assert fleet.states(rollout.id) == {device.id: "updating"}
    fleet.act()
    fleet.tick()
    assert fleet.show(rollout.id).state == "completed"


def test_device_that_left_before_taking_it_up_is_unreachable_and_frees_its_place(
    fleet: Fleet,
) -> None:
    devices = fleet.add(2)
    stage = StageSpec(percent=100, max_in_flight=1, attempt_timeout=Duration(60))
    rollout = fleet.create(spec_of(stage))
    fleet.tick()
    lost = next(fleet.devices[d] for d, s in fleet.states(rollout.id).items() if s == "assigned")
    fleet.set_online(lost, online=False)

    fleet.watch(70)
    shown = fleet.run(rollout.id, ticks=10)

    assert (shown.committed, shown.unreachable, shown.failed) == (1, 1, 0)
    wanted = fleet.assigned(lost)
    assert wanted is not None
    assert wanted.bundle == OLD, "or it would start unasked when it comes back"
    fleet.set_online(lost, online=True)
    assert fleet.run(rollout.id).state == "completed"
    assert {d.running for d in devices} == {NEW}


def test_failed_device_that_went_offline_keeps_its_place(fleet: Fleet) -> None:
    devices = fleet.add(100)
    stage = StageSpec(percent=100, max_in_flight=1)
    rollout = fleet.create(spec_of(stage, gate=GateSpec(min_n=50)))
    first = fleet.devices[next(iter(fleet.states(rollout.id)))]
    first.outcomes[NEW] = [BAD]
    fleet.tick()
    fleet.act()
    fleet.act()
    fleet.set_online(first, online=False)

    fleet.tick()
    blocked = fleet.show(rollout.id)
    assert blocked.state == "paused"
    assert "hold every place" in blocked.reason
    assert sum(d.gen > 0 for d in devices) == 1

    fleet.resume(rollout.id)
    fleet.tick()
    assert fleet.show(rollout.id).devices["assigned"] == 1, "an operator forgave it"


def test_transient_failures_are_retried_after_a_while_and_not_counted(fleet: Fleet) -> None:
    device = fleet.add(1)[0]
    device.outcomes[NEW] = [NO_NETWORK, NO_NETWORK, (UpdateState.COMMITTED, None)]
    rollout = fleet.create(spec_of(retries=2))

    assert fleet.run(rollout.id, ticks=5).devices == {"waiting": 1}
    done = fleet.run(rollout.id)

    assert (done.state, done.failed, done.committed) == ("completed", 0, 1)
    wanted = fleet.assigned(device)
    assert wanted is not None
    assert wanted.attempt == 3


def test_out_of_retries_is_no_failure_and_no_success(fleet: Fleet) -> None:
    device = fleet.add(1)[0]
    device.outcomes[NEW] = [NO_NETWORK]
    rollout = fleet.create(spec_of(retries=1))

    done = fleet.run(rollout.id)

    assert (done.state, done.failed, done.devices) == ("paused", 0, {"gave-up": 1})
    assert done.stages[0].verdict == "insufficient-data"


def test_distrust_pauses_at_once(fleet: Fleet) -> None:
    devices = fleet.add(100)
    rollout = fleet.create(spec_of(StageSpec(percent=100, max_in_flight=10)))
    order = list(fleet.states(rollout.id))
    fleet.devices[order[5]].outcomes[NEW] = [DISTRUSTS]

    stopped = fleet.run(rollout.id)

    assert (stopped.state, stopped.failed) == ("paused", 0)
    assert "distrust" in stopped.reason
    assert sum(d.running == NEW for d in devices) < 10


def test_decommissioned_device_leaves_the_rollout(fleet: Fleet) -> None:
    fleet.add(4)
    rollout = fleet.create(spec_of(StageSpec(percent=100, max_in_flight=2)))
    fleet.tick()
    states = fleet.states(rollout.id)
    for wanted in ("assigned", "waiting"):
        fleet.remove(fleet.devices[next(d for d, s in states.items() if s == wanted)])

    done = fleet.run(rollout.id)

    assert (done.state, done.devices) == ("completed", {"committed": 2, "left": 2})


def test_devices_enrolled_later_come_with_the_last_stage(fleet: Fleet) -> None:
    fleet.add(4, labels={"line": "3"})
    stages = (StageSpec(count=2, soak=Duration(30)), StageSpec(percent=100))
    rollout = fleet.create(spec_of(*stages, selector=Selector(labels={"line": "3"})))
    fleet.tick()
    late = fleet.add(1, labels={"line": "3"})[0]
    other = fleet.add(1, labels={"line": "4"})[0]

    done = fleet.run(rollout.id)

    assert (done.state, done.committed) == ("completed", 5)
    assert fleet.stage_of(rollout.id)[late.id] == 2
    assert other.running == OLD
    assert "joined" in fleet.kinds(rollout.id)


def test_device_already_on_the_bundle_still_has_to_prove_it(fleet: Fleet) -> None:
    device = fleet.add(1, running=NEW)[0]
    rollout = fleet.create()
    fleet.tick()
    assert fleet.states(rollout.id) == {device.id: "assigned"}

    done = fleet.run(rollout.id)

    assert (done.state, device.gen) == ("completed", 1)


def test_assignment_made_by_somebody_else_ends_the_membership(fleet: Fleet) -> None:
    device = fleet.add(2)[0]
    rollout = fleet.create()
    fleet.tick()
    with fleet.transaction() as connection:
        fleet.assigner.set_assignment(connection, device=device.id, slot="main", bundle=OLD)

    done = fleet.run(rollout.id)

    assert (done.state, done.devices) == ("completed", {"committed": 1, "left": 1})
    assert device.running == OLD


def test_two_engines_share_the_work_by_lease(fleet: Fleet) -> None:
    fleet.add(3)
    rollout = fleet.create()
    second = fleet.new_engine("b")

    with fleet.transaction() as connection:
        assert fleet.rollouts.tick(connection) == 1
        assert second.tick(connection) == 0
    fleet.clock.now_s += 31.0  # the first one died
    with fleet.transaction() as connection:
        assert second.tick(connection) == 1
        assert fleet.rollouts.tick(connection) == 0
    fleet.clock.now_s -= 90_000.0  # the clock was set back: nobody is locked out for a day
    with fleet.transaction() as connection:
        assert fleet.rollouts.tick(connection) == 1
    assert fleet.kinds(rollout.id).count("stage-opened") == 1


def test_ticking_again_changes_nothing(fleet: Fleet) -> None:
    fleet.add(10)
    rollout = fleet.create(spec_of(*CANARY_THEN_ALL))
    fleet.tick()
    fleet.tick(0.0)
    before = fleet.show(rollout.id)
    doorbells = select(schema.doorbell.c.device, schema.doorbell.c.gen)
    with fleet.transaction() as connection:
        rung = connection.execute(doorbells).all()

    for _ in range(5):
        fleet.tick(0.0)

    assert fleet.show(rollout.id) == before
    with fleet.transaction() as connection:
        assert connection.execute(doorbells).all() == rung
        assert len(connection.execute(select(rollout_evidence)).all()) == 3


@pytest.mark.parametrize("most", [1, 3])
def test_never_more_on_the_way_than_allowed(fleet: Fleet, most: int) -> None:
    fleet.add(9)
    rollout = fleet.create(spec_of(StageSpec(percent=100, max_in_flight=most)))
    seen = set()
    while fleet.show(rollout.id).state == "running":
        fleet.tick()
        devices = fleet.show(rollout.id).devices
        seen.add(devices.get("assigned", 0) + devices.get("updating", 0))
        fleet.act()

    assert max(seen) == most
    assert fleet.show(rollout.id).committed == 9
