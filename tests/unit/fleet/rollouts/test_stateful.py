"""A rollout under any order of reports, outages and operators, looked at after each step.

Held at all times: never more devices on the way than allowed; no stage begins before the one
before it passed; the chain of evidence is whole; every counter agrees with the members; no device
is counted as a success that does not run the bundle; nothing fires twice.
"""

from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from edgeops.contracts.update import UpdateState
from edgeops.errors import TransitionError
from edgeops.quantities import Duration
from fleet.rollouts.spec import GateSpec, OnFail, StageSpec
from fleet.rollouts.view import RolloutView
from tests.unit.fleet.rollouts.simulated import (
    BAD,
    DISTRUSTS,
    GOOD,
    HANGS,
    NEW,
    NO_NETWORK,
    OLD,
    Device,
    Fleet,
    spec_of,
)

DEVICES = 8
MOST = 2
ONCE = {"created", "started", "completed", "reverted", "aborted"}


class AnyRollout(RuleBasedStateMachine):
    """One rollout over eight devices in three stages, and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(Path(":memory:"))
        self.rollout = ""
        self.devices: dict[str, Device] = {}
        self.accepted: set[int] = set()
        self.steps = 0

    def teardown(self) -> None:
        self.fleet.close()

    @initialize(
        outcomes=st.lists(
            st.sampled_from([GOOD, GOOD, GOOD, BAD, NO_NETWORK, DISTRUSTS, HANGS]),
            min_size=DEVICES,
            max_size=DEVICES,
        ),
        on_fail=st.sampled_from(OnFail),
    )
    def begin(self, outcomes: list[tuple[UpdateState, None]], on_fail: OnFail) -> None:
        devices = self.fleet.add(DEVICES)
        self.devices = dict(self.fleet.devices)
        for device, outcome in zip(devices, outcomes, strict=True):
            device.outcomes[NEW] = [outcome]
        common = {"max_in_flight": MOST, "attempt_timeout": Duration(100), "soak": Duration(5)}
        self.rollout = self.fleet.create(
            spec_of(
                StageSpec(count=2, **common),  # type: ignore[arg-type]  # types are StageSpec's
                StageSpec(percent=50, **common),  # type: ignore[arg-type]
                StageSpec(percent=100, **common),  # type: ignore[arg-type]
                gate=GateSpec(on_fail=on_fail, deadline=Duration(300)),
                retries=1,
            )
        ).id

    # --- what can happen

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0, 50.0, 100_000.0, -5_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.fleet.tick(seconds)

    @rule()
    def devices_act(self) -> None:
        self.fleet.act()

    @rule()
    def devices_act_and_are_heard(self) -> None:
        for _ in range(3):
            self.fleet.act()
            self.fleet.tick(6.0)

    @rule(number=st.integers(0, DEVICES - 1))
    def device_comes_or_goes(self, number: int) -> None:
        device = self.device(number)
        if device is not None:
            self.fleet.set_online(device, online=not device.online)

    @rule(number=st.integers(0, DEVICES - 1))
    def device_falls_back(self, number: int) -> None:
        device = self.device(number)
        if device is not None and device.running == NEW:
            device.running, device.serial = OLD, 1
            self.fleet.say(device, UpdateState.FALLBACK)

    @rule(number=st.integers(0, DEVICES - 1), state=st.sampled_from(UpdateState))
    def device_babbles(self, number: int, state: UpdateState) -> None:
        """Any state, from whatever generation it knows; what it runs is always true."""
        device = self.device(number)
        if device is not None:
            if state is UpdateState.COMMITTED and device.running is not None:
                device.proved.add(device.running)
            self.fleet.say(device, state)

    @rule(number=st.integers(0, DEVICES - 1))
    def device_is_decommissioned(self, number: int) -> None:
        if sum(self.device(i) is not None for i in range(DEVICES)) > DEVICES - 2:
            device = self.device(number)
            if device is not None:
                self.fleet.remove(device)
                del self.fleet.devices[device.id]

    @precondition(lambda self: self.rollout)
    @rule(what=st.sampled_from(["pause", "resume", "accept"]))
    def operator_decides(self, what: str) -> None:
        shown = self.fleet.show(self.rollout)
        try:
            if what == "pause":
                with self.fleet.transaction() as connection:
                    self.fleet.service.pause(connection, self.rollout)
            else:
                self.fleet.resume(self.rollout, accept=what == "accept")
        except TransitionError:
            return
        if what == "accept":
            self.accepted.add(shown.stage)

    @precondition(lambda self: self.rollout and self.steps > 12)
    @rule(what=st.sampled_from(["abort", "revert"]))
    def operator_ends(self, what: str) -> None:
        try:
            with self.fleet.transaction() as connection:
                if what == "abort":
                    self.fleet.service.abort(connection, self.rollout)
                else:
                    self.fleet.service.revert(connection, self.rollout)
        except TransitionError:
            return

    # --- what must hold

    @invariant()
    def everything_agrees(self) -> None:
        if not self.rollout:
            return
        self.steps += 1
        shown = self.fleet.show(self.rollout)
        kinds = Counter(self.fleet.kinds(self.rollout))  # fails where the chain is broken
        self.fleet.check_counters()
        on_the_way = shown.devices.get("assigned", 0) + shown.devices.get("updating", 0)
        assert on_the_way <= MOST
        assert all(kinds[kind] <= 1 for kind in ONCE), kinds
        assert kinds["stage-opened"] <= 3
        assert kinds["stage-passed"] <= 3
        self.check_order(shown)
        self.check_successes()

    def check_order(self, shown: RolloutView) -> None:
        states = [stage.state.value for stage in shown.stages]
        begun = [state for state in states if state != "planned"]
        assert states == begun + ["planned"] * (len(states) - len(begun))
        assert all(state == "done" for state in begun[:-1]), states
        for stage in shown.stages:
            if stage.state.value == "done" and stage.stage not in self.accepted:
                assert stage.verdict == "pass"
            if stage.state.value == "planned":
                assert set(stage.devices) <= {"waiting", "left"}
        if shown.state == "completed":
            assert set(states) == {"done"}

    def check_successes(self) -> None:
        for name, state in self.fleet.states(self.rollout).items():
            if state == "committed":
                assert NEW in self.devices[name].proved, f"{name} never said that it runs {NEW}"

    def device(self, number: int) -> Device | None:
        return self.fleet.devices.get(f"d{number:04d}")


AnyRollout.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
TestAnyRollout = AnyRollout.TestCase
