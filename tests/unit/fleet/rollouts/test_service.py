"""What an operator can do, and what is refused because it is too late, twice or contradictory."""

import pytest
from sqlalchemy import delete, update

from edgeops.errors import ContractError, TransitionError, TrustError, UsageError
from fleet.db.rollout_tables import rollout_evidence
from fleet.rollouts import store
from fleet.rollouts.machine import RolloutEvent
from fleet.rollouts.spec import Selector, StageSpec
from tests.unit.fleet.rollouts.simulated import BAD, NEW, NEXT, OLD, Fleet, spec_of


def test_approval_is_waited_for(fleet: Fleet) -> None:
    fleet.add(3)
    rollout = fleet.create(spec_of(approval=True))
    assert rollout.state == "awaiting-approval"
    fleet.tick()
    assert fleet.states(rollout.id) == dict.fromkeys(fleet.devices, "waiting")

    with fleet.transaction() as connection:
        fleet.service.approve(connection, rollout.id, actor="ada")

    assert fleet.run(rollout.id).state == "completed"
    with fleet.transaction() as connection:
        records = fleet.service.explain(connection, rollout.id).evidence
    assert [(r.kind, r.actor) for r in records if r.kind == "approved"] == [("approved", "ada")]


def test_refused_rollout_never_starts(fleet: Fleet) -> None:
    fleet.add(1)
    rollout = fleet.create(spec_of(approval=True))
    with fleet.transaction() as connection:
        assert fleet.service.refuse(connection, rollout.id).state == "rejected"
    assert fleet.run(rollout.id, ticks=3).committed == 0


def test_draft_does_nothing_until_it_is_started(fleet: Fleet) -> None:
    rollout = fleet.create(draft=True)
    assert (rollout.state, rollout.size) == ("draft", 0)
    fleet.add(2)
    with fleet.transaction() as connection:
        started = fleet.service.start(connection, rollout.id).rollout
    assert (started.state, started.size) == ("running", 2)
    with (
        fleet.transaction() as connection,
        pytest.raises(TransitionError, match="was started before"),
    ):
        fleet.service.start(connection, rollout.id)


def test_same_request_twice_makes_one_rollout(fleet: Fleet) -> None:
    fleet.add(1)
    first = fleet.create(request_key="k-1")
    assert fleet.create(request_key="k-1").id == first.id
    with pytest.raises(UsageError, match=f"already made rollout {first.id}"):
        fleet.create(spec_of(bundle=NEXT), request_key="k-1")


def test_stale_decision_is_refused_and_changes_nothing(fleet: Fleet) -> None:
    fleet.add(3)
    for device in fleet.devices.values():
        device.outcomes[NEW] = [BAD]
    rollout = fleet.create(spec_of(StageSpec(count=1), StageSpec(percent=100)))
    seen = fleet.run(rollout.id)
    assert seen.state == "paused"
    fleet.resume(rollout.id)
    paused_again = fleet.run(rollout.id)
    assert paused_again.state == "paused"

    with (
        fleet.transaction() as connection,
        pytest.raises(TransitionError, match=f"you looked at {seen.revision}"),
    ):
        fleet.service.resume(connection, rollout.id, expected_revision=seen.revision, accept=True)

    assert fleet.show(rollout.id) == paused_again


def test_double_click_is_refused_the_second_time(fleet: Fleet) -> None:
    fleet.add(1)
    rollout = fleet.create()
    with fleet.transaction() as connection:
        fleet.service.pause(connection, rollout.id)
    with (
        fleet.transaction() as connection,
        pytest.raises(TransitionError, match="is paused-operator and cannot be paused"),
    ):
        fleet.service.pause(connection, rollout.id)


def test_operator_pause_admits_nobody_and_lets_the_rest_finish(fleet: Fleet) -> None:
    fleet.add(6)
    rollout = fleet.create(spec_of(StageSpec(percent=100, max_in_flight=2)))
    fleet.tick()
    with fleet.transaction() as connection:
        fleet.service.pause(connection, rollout.id)

    for _ in range(5):
        fleet.tick()
        fleet.act()

    paused = fleet.show(rollout.id)
    assert (paused.state, paused.cause) == ("paused", "operator")
    assert paused.devices == {"committed": 2, "waiting": 4}
    fleet.resume(rollout.id)
    assert fleet.run(rollout.id).state == "completed"


def test_change_by_somebody_faster_is_noticed(fleet: Fleet) -> None:
    fleet.add(1)
    rollout = fleet.create()
    with fleet.transaction() as connection:
        stale = store.load(connection, rollout.id)
        fleet.service.pause(connection, rollout.id)
        with pytest.raises(TransitionError, match="changed meanwhile"):
            store.change(connection, stale, RolloutEvent.LAST_STAGE_PASSED, reason="", now_s=0.0)


def test_overlapping_rollout_is_refused_unless_it_supersedes(fleet: Fleet) -> None:
    devices = fleet.add(6)
    first = fleet.create(spec_of(StageSpec(percent=100, max_in_flight=2)))
    fleet.tick()
    fleet.act()
    fleet.act()
    fleet.tick()  # two committed, two on the way

    with pytest.raises(UsageError, match=f"rollout {first.id} is open on the same devices"):
        fleet.create(spec_of(bundle=NEXT))
    second = fleet.create(spec_of(bundle=NEXT), supersede=True)

    old = fleet.show(first.id)
    assert (old.state, second.id in old.reason) == ("superseded", True)
    assert old.devices["withdrawn"] == 2
    done = fleet.run(second.id)
    assert (done.state, done.committed) == ("completed", 6)
    assert {device.running for device in devices} == {NEXT}
    assert "superseded" in fleet.kinds(first.id)


def test_rollouts_on_other_devices_or_slots_do_not_meet(fleet: Fleet) -> None:
    fleet.add(2, site="north")
    fleet.add(2, site="south")
    fleet.create(spec_of(selector=Selector(site="north")))
    fleet.create(spec_of(selector=Selector(site="south")))
    fleet.create(spec_of(selector=Selector(site="north"), slot="vibration"))


def test_refused_creation_leaves_nothing_behind(fleet: Fleet) -> None:
    fleet.add(2)
    fleet.create()
    with pytest.raises(UsageError), fleet.transaction() as connection:
        fleet.service.create(connection, spec_of(bundle=NEXT))
    with fleet.transaction() as connection:
        assert len(fleet.service.list(connection)) == 1


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (Selector(), {"a0000", "b0001", "c0002"}),
        (Selector(board="pi5"), {"b0001"}),
        (Selector(site="south"), {"c0002"}),
        (Selector(labels={"line": "3"}), {"a0000"}),
        (Selector(labels={"line": "3"}, board="pi5"), set()),
        (Selector(devices=("c0002", "a0000")), {"a0000", "c0002"}),
    ],
)
def test_selector(fleet: Fleet, selector: Selector, expected: set[str]) -> None:
    fleet.add(1, prefix="a", labels={"line": "3"})
    fleet.add(1, prefix="b", board="pi5", labels={"line": "4"})
    fleet.add(1, prefix="c", site="south")
    if expected:
        rollout = fleet.create(spec_of(selector=selector))
        assert set(fleet.states(rollout.id)) == expected
    else:
        with pytest.raises(ContractError, match="matches no enrolled device"):
            fleet.create(spec_of(selector=selector))


def test_unknown_things_are_named(fleet: Fleet) -> None:
    fleet.add(1)
    with pytest.raises(UsageError, match="no bundle sha256:9999"):
        fleet.create(spec_of(bundle=f"sha256:{'9' * 64}"))
    with pytest.raises(UsageError, match="no device 'ghost' is enrolled"):
        fleet.create(spec_of(selector=Selector(devices=("ghost",))))
    with pytest.raises(UsageError, match="no rollout 'ro-x'"):
        fleet.show("ro-x")


def test_going_down_needs_the_policys_word(fleet: Fleet) -> None:
    device = fleet.add(1, running=NEXT)[0]
    with pytest.raises(ContractError, match=r"1 devices \(d0000 for one\) run a serial above 2"):
        fleet.create()

    rollout = fleet.create(spec_of(downgrade_ok=True))

    assert fleet.run(rollout.id).state == "completed"
    assert device.running == NEW


def test_newcomer_with_a_newer_serial_is_left_alone(fleet: Fleet) -> None:
    fleet.add(1)
    rollout = fleet.create()
    late = fleet.add(1, running=NEXT)[0]
    done = fleet.run(rollout.id)
    assert (done.state, late.running, done.devices["left"]) == ("completed", NEXT, 1)


@pytest.mark.parametrize("kind", ["changed", "cut", "removed", "relinked"])
def test_evidence_that_was_tampered_with_is_refused(fleet: Fleet, kind: str) -> None:
    fleet.add(3)
    rollout = fleet.create()
    fleet.run(rollout.id)
    count = len(fleet.kinds(rollout.id))
    table = rollout_evidence
    with fleet.transaction() as connection:
        match kind:
            case "changed":
                connection.execute(update(table).where(table.c.seq == 2).values(data=b"{}"))
            case "relinked":
                connection.execute(update(table).where(table.c.seq == 2).values(previous="0"))
            case "cut":
                connection.execute(delete(table).where(table.c.seq == count))
            case _:
                connection.execute(delete(table).where(table.c.seq == 2))
    with pytest.raises(TrustError, match="evidence of rollout"):
        fleet.kinds(rollout.id)


def test_evidence_names_the_figures_that_decided(fleet: Fleet) -> None:
    for device in fleet.add(4):
        device.outcomes[NEW] = [BAD]
    rollout = fleet.create()
    fleet.run(rollout.id)
    with fleet.transaction() as connection:
        explanation = fleet.service.explain(connection, rollout.id)
    stopped = next(r for r in explanation.evidence if r.kind == "stopped")
    assert isinstance(stopped.body, dict)
    assert stopped.body["verdict"] == "revert"
    assert stopped.body["action"] == "pause"
    figures = stopped.body["figures"]
    assert isinstance(figures, dict)
    assert (figures["failures"], figures["attempted"]) == (4, 4)
    failed = [r for r in explanation.evidence if r.kind == "device-failed"]
    assert len(failed) == 4
    assert all(device.running == OLD for device in fleet.devices.values())
