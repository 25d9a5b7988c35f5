"""A fleet that obeys its assignments, for rollouts on the server's real tables.

Devices read the signed assignment as the server stored it and answer with real reports; what
they make of a bundle is scripted. Only the network between the two is left out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from edgeops import codec
from edgeops.contracts.update import (
    Assignment,
    DeviceReport,
    Reason,
    SlotReport,
    UpdateState,
)
from edgeops.trust import SigningKey, parse_envelope
from fleet.db import schema
from fleet.db.engine import writer_engine
from fleet.db.rollout_tables import rollout_member, rollout_stage
from fleet.devices.assignments import Assigner
from fleet.devices.enrolment import decommission
from fleet.devices.reports import apply_report
from fleet.rollouts.engine import RolloutEngine
from fleet.rollouts.machine import MemberState
from fleet.rollouts.service import RolloutService
from fleet.rollouts.spec import GateSpec, RolloutSpec, StageSpec
from fleet.rollouts.store import column_of
from fleet.rollouts.view import RolloutView

SLOT = "main"
OLD, NEW, NEXT = (f"sha256:{digit * 64}" for digit in "123")
SERIALS = {OLD: 1, NEW: 2, NEXT: 3}

Outcome = tuple[UpdateState, Reason | None]
GOOD: Outcome = (UpdateState.COMMITTED, None)
BAD: Outcome = (UpdateState.ROLLED_BACK, Reason.BEHAVIOUR)
NO_NETWORK: Outcome = (UpdateState.REJECTED, Reason.NETWORK)
DISTRUSTS: Outcome = (UpdateState.REJECTED, Reason.SIGNATURE)
HANGS: Outcome = (UpdateState.PROBATION, None)


@dataclass
class HandClock:
    """Wall time that moves only by hand."""

    now_s: float = 1_800_000_000.0

    def wall(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


@dataclass
class Device:
    """One scripted device; ``outcomes`` maps a bundle to what comes of it, one per attempt."""

    id: str
    running: str | None = OLD
    serial: int = 1
    online: bool = True
    deaf: bool = False
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    gen: int = 0
    began: bool = False
    report_seq: int = 0
    gens_done: list[int] = field(default_factory=list)
    proved: set[str] = field(default_factory=set)

    def outcome_of(self, bundle: str) -> Outcome:
        script = self.outcomes.get(bundle, [GOOD])
        return script.pop(0) if len(script) > 1 else script[0]


class Fleet:
    """Devices and a server of which everything but the network is real."""

    def __init__(self, path: Path) -> None:
        self.clock = HandClock()
        self.engine = writer_engine(path)
        # The tests of the database hold that migrations make exactly this.
        schema.metadata.create_all(self.engine)
        self.devices: dict[str, Device] = {}
        self.assigner = Assigner(SigningKey.generate(), self.clock)
        self.service = RolloutService(assignments=self.assigner, clock=self.clock)
        self.rollouts = self.new_engine("a")
        with self.transaction() as connection:
            for number, (digest, serial) in enumerate(SERIALS.items()):
                connection.execute(
                    insert(schema.bundle).values(
                        digest=digest,
                        name="door",
                        version=f"1.0.{number}",
                        serial=serial,
                        task="classification",
                        development=False,
                        manifest=b"{}",
                        keyid="k",
                        size_bytes=1,
                        pushed_s=0.0,
                    )
                )

    def close(self) -> None:
        self.engine.dispose()

    def new_engine(self, owner: str) -> RolloutEngine:
        return RolloutEngine(assignments=self.assigner, clock=self.clock, owner=owner)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    # --- the fleet

    def add(
        self,
        count: int,
        *,
        prefix: str = "d",
        running: str | None = OLD,
        online: bool = True,
        board: str = "pi4",
        site: str = "north",
        labels: dict[str, str] | None = None,
    ) -> list[Device]:
        """Enrol devices that have reported what they run."""
        start = len(self.devices)
        made = []
        with self.transaction() as connection:
            for i in range(start, start + count):
                device = Device(f"{prefix}{i:04d}", running=running, online=online)
                device.serial = SERIALS[running] if running else 0
                self.devices[device.id] = device
                made.append(device)
                connection.execute(
                    insert(schema.device).values(
                        id=device.id,
                        board=board,
                        site=site,
                        labels=labels or {},
                        password_hash="x",
                        enrolled_s=self.clock.now_s,
                        online=online,
                    )
                )
                state = UpdateState.COMMITTED if running else UpdateState.IDLE
                self._report(connection, device, state, None)
        return made

    def set_online(self, device: Device, *, online: bool) -> None:
        device.online = online
        with self.transaction() as connection:
            connection.execute(
                update(schema.device).where(schema.device.c.id == device.id).values(online=online)
            )

    def remove(self, device: Device) -> None:
        device.online = False
        with self.transaction() as connection:
            decommission(connection, device.id, now_s=self.clock.now_s)

    def say(self, device: Device, state: UpdateState, reason: Reason | None = None) -> None:
        """Let one device report, whatever it was told."""
        with self.transaction() as connection:
            self._report(connection, device, state, reason)

    def act(self) -> None:
        """Let every device that is online take one step with its assignment."""
        with self.transaction() as connection:
            for device in self.devices.values():
                if device.online and not device.deaf:
                    self._act(connection, device)

    def assigned(self, device: Device) -> Assignment | None:
        with self.transaction() as connection:
            return self._assignment(connection, device)

    # --- time

    def tick(self, seconds: float = 1.0, *, engine: RolloutEngine | None = None) -> None:
        self.clock.now_s += seconds
        with self.transaction() as connection:
            (engine or self.rollouts).tick(connection)

    def run(self, rollout_id: str, *, ticks: int = 60, step_s: float = 1.0) -> RolloutView:
        """Tick until the rollout leaves its running states, or for so many ticks."""
        for _ in range(ticks):
            self.tick(step_s)
            self.act()
            shown = self.show(rollout_id)
            if shown.state not in {"running", "aborting"}:
                break
        return self.show(rollout_id)

    def watch(self, seconds: float) -> None:
        """Let so many seconds pass in steps that the engine counts, devices silent."""
        while seconds > 0:
            self.tick(min(seconds, 50.0))
            seconds -= 50.0

    # --- the operator

    def create(
        self,
        spec: RolloutSpec | None = None,
        *,
        supersede: bool = False,
        request_key: str | None = None,
        draft: bool = False,
    ) -> RolloutView:
        with self.transaction() as connection:
            return self.service.create(
                connection,
                spec or spec_of(),
                supersede=supersede,
                request_key=request_key,
                draft=draft,
            ).rollout

    def show(self, rollout_id: str) -> RolloutView:
        with self.transaction() as connection:
            return self.service.show(connection, rollout_id)

    def resume(self, rollout_id: str, *, accept: bool = False) -> RolloutView:
        with self.transaction() as connection:
            return self.service.resume(connection, rollout_id, accept=accept)

    def kinds(self, rollout_id: str) -> list[str]:
        """Return the kinds of evidence in order; fails where the chain is broken."""
        with self.transaction() as connection:
            return [r.kind for r in self.service.explain(connection, rollout_id).evidence]

    def states(self, rollout_id: str) -> dict[str, str]:
        with self.transaction() as connection:
            return {m.device: m.state.value for m in self.service.members(connection, rollout_id)}

    def stage_of(self, rollout_id: str) -> dict[str, int]:
        with self.transaction() as connection:
            return {m.device: m.stage for m in self.service.members(connection, rollout_id)}

    def check_counters(self) -> None:
        """Fail where a stage's counters are not what its members say."""
        with self.transaction() as connection:
            counted: dict[tuple[str, int, str], int] = {}
            for row in connection.execute(select(rollout_member)):
                key = (row.rollout, row.k, row.state)
                counted[key] = counted.get(key, 0) + 1
            for stage in connection.execute(select(rollout_stage)).mappings():
                for state in MemberState:
                    expected = counted.get((stage["rollout"], stage["k"], state.value), 0)
                    assert stage[column_of(state)] == expected, (stage["k"], state)

    # --- inside

    def _assignment(self, connection: Connection, device: Device) -> Assignment | None:
        table = schema.assignment
        data = connection.execute(
            select(table.c.envelope).where(table.c.device == device.id)
        ).scalar_one_or_none()
        if data is None:
            return None
        envelope = parse_envelope(data, where="assignment")
        return codec.decode(envelope.document(), Assignment, where="assignment")

    def _act(self, connection: Connection, device: Device) -> None:
        wanted = self._assignment(connection, device)
        if wanted is None or (wanted.gen in device.gens_done and wanted.gen == device.gen):
            return
        if wanted.gen != device.gen:
            device.gen, device.began = wanted.gen, True
            self._report(connection, device, UpdateState.FETCH, None)
            return
        serial = SERIALS[wanted.bundle]
        reason: Reason | None
        if serial < device.serial and wanted.downgrade_ok_from != device.serial:
            state, reason = UpdateState.REJECTED, Reason.SERIAL
        elif wanted.bundle == device.running:
            state, reason = GOOD
        else:
            state, reason = device.outcome_of(wanted.bundle)
        if state is UpdateState.COMMITTED:
            device.running, device.serial = wanted.bundle, serial
            device.proved.add(wanted.bundle)
        if state is not UpdateState.PROBATION:
            device.gens_done.append(wanted.gen)
        self._report(connection, device, state, reason)

    def _report(
        self, connection: Connection, device: Device, state: UpdateState, reason: Reason | None
    ) -> None:
        device.report_seq += 1
        slot = SlotReport(
            slot=SLOT,
            gen=device.gen,
            state=state,
            running=device.running,
            serial=device.serial,
            reason=reason,
        )
        said = DeviceReport(
            device=device.id, boot="b1", report_seq=device.report_seq, slots=(slot,)
        )
        apply_report(connection, said, codec.canonical(said), now_s=self.clock.now_s, keep=2)


def spec_of(
    *stages: StageSpec, gate: GateSpec | None = None, bundle: str = NEW, **rest: object
) -> RolloutSpec:
    """Return a rollout of ``bundle``; all at once unless stages are given."""
    return RolloutSpec(
        bundle=bundle,
        stages=stages or (StageSpec(percent=100.0),),
        gate=gate or GateSpec(),
        **rest,  # type: ignore[arg-type]  # names and types are those of RolloutSpec
    )
