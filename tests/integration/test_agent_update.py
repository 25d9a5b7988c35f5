"""Updates end to end on one device: real HTTP, real bundles, the real exam, real kills."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.server import DeviceApi
from agent.supervision import Supervision
from agent.update import exam
from agent.update.exam import examine
from agent.update.ports import SlotHealth
from agent.update.rules import SlotRule, UpdateRules
from agent.update.runner import Updater
from edgeops import failpoint
from edgeops.bundle import Bundle, file_ref, write_manifest
from edgeops.clock import SystemClock
from edgeops.contracts.update import (
    Assignment,
    DeviceReport,
    Probation,
    Reason,
    SlotReport,
    UpdateState,
)
from edgeops.quantities import ByteSize, Duration
from edgeops.testing.bundles import make_bundle
from edgeops.testing.models import COLOR_INPUT, COLOR_TASK, color_classifier
from edgeops.trust import SigningKey, TrustStore
from tests.emulation.fleet_server import FleetServer
from tests.emulation.host import EmulatedHost
from tests.emulation.update_child import CREDENTIAL, PACE
from tests.integration.test_broker.clients import until

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")

    def bundle(name: str, serial: int, *, signer: SigningKey = key, nan: bool = False) -> Bundle:
        model = color_classifier(folder / f"{name}.onnx", sharpness=10.0 + serial, nan=nan)
        return make_bundle(
            folder / name,
            task=COLOR_TASK,
            input=COLOR_INPUT,
            key=signer,
            onnx_path=model,
            version=f"{serial}.0.0",
            serial=serial,
            with_golden=not nan,
        )

    made = {
        "old": bundle("old", 2),
        "new": bundle("new", 3),
        "older": bundle("older", 1),
        "foreign": bundle("foreign", 4, signer=SigningKey.generate()),
        "nan": bundle("nan", 5, nan=True),
    }
    # A bundle whose weights were exchanged after the golden samples were answered, then signed.
    made["wrong"] = _with_other_weights(folder, key)
    return made


def _with_other_weights(folder: Path, key: SigningKey) -> Bundle:
    turned = color_classifier(folder / "turned.onnx", turn=1)
    straight = color_classifier(folder / "straight.onnx")
    source = make_bundle(
        folder / "straight", task=COLOR_TASK, input=COLOR_INPUT, key=key, onnx_path=straight
    )
    wrong = make_bundle(
        folder / "wrong", task=COLOR_TASK, input=COLOR_INPUT, key=key, onnx_path=turned, serial=9
    )
    # The answers of the straight model under the turned one's manifest: sign that again.
    golden = wrong.manifest.golden
    assert golden is not None
    shutil.copyfile(source.path(golden.expected.file), wrong.path(golden.expected.file))
    expected = file_ref(wrong.folder, golden.expected.file)
    manifest = replace(wrong.manifest, golden=replace(golden, expected=expected))
    for signature in (wrong.folder / "signatures").iterdir():
        signature.unlink()
    return write_manifest(wrong.folder, manifest, key)


@pytest.fixture
def server(bundles: dict[str, Bundle]) -> Iterator[FleetServer]:
    with FleetServer(CREDENTIAL) as made:
        made.publish(*bundles.values())
        yield made


def assignment(bundle: Bundle, gen: int, **more: object) -> Assignment:
    values: dict[str, object] = {
        "device": "d1", "slot": "main", "gen": gen, "bundle": bundle.digest,
        "probation": Probation(s=20.0, frames=100), **more,
    }  # fmt: skip
    return Assignment(**values)  # type: ignore[arg-type]  # a test's shorthand


class Device:
    """One device with an emulated host; everything else of the updater is real."""

    def __init__(self, state_dir: Path, server: FleetServer, key: SigningKey) -> None:
        self.host = EmulatedHost()
        self.reports: list[DeviceReport] = []
        self.changed = threading.Condition()
        self.state_dir = state_dir
        self.server = server
        self.key = key

    @contextmanager
    def running(
        self, rule: SlotRule | None = None, rules: UpdateRules | None = None
    ) -> Iterator[Updater]:
        api = DeviceApi(self.server.url, CREDENTIAL, read_s=5.0)
        supervision = Supervision(SystemClock())
        self.updater = Updater(
            state_dir=self.state_dir,
            device="d1",
            boot="boot1",
            slots=[rule or SlotRule(slot="main")],
            trust=TrustStore(release=[self.key.public], director=[self.server.director.public]),
            server=api,
            host=self.host,
            rules=rules or UpdateRules(),
            clock=SystemClock(),
            on_report=self._report,
            reconcile_s=3600.0,
            pace=PACE,
            guarded=supervision.guarded,
        )
        self.updater.start()
        try:
            yield self.updater
        finally:
            supervision.stop()
            self.updater.stop()
            api.close()

    def _report(self, report: DeviceReport) -> None:
        with self.changed:
            self.reports.append(report)
            self.changed.notify_all()

    def until(self, gen: int, *states: UpdateState) -> SlotReport:
        """Wait until the server was told that ``gen`` is in one of ``states``."""

        def told() -> SlotReport | None:
            for report in self.reports:
                slot = report.slots[0]
                if slot.gen == gen and slot.state in states:
                    return slot
            return None

        with self.changed:
            assert self.changed.wait_for(lambda: told() is not None, DEADLINE_S), (
                f"{gen} never became {states}: {[r.slots[0].state for r in self.reports]}"
            )
        found = told()
        assert found is not None
        return found

    def install(self, bundle: Bundle, gen: int, **more: object) -> SlotReport:
        self.server.assign(assignment(bundle, gen, **more))
        self.updater.wake()
        return self.until(
            gen,
            UpdateState.COMMITTED,
            UpdateState.REJECTED,
            UpdateState.ROLLED_BACK,
            UpdateState.FALLBACK,
        )


@pytest.fixture
def device(tmp_path: Path, server: FleetServer, key: SigningKey) -> Device:
    return Device(tmp_path / "state", server, key)


def test_an_update_is_fetched_examined_watched_and_committed(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    with device.running() as updater:
        first = device.install(bundles["old"], 1)
        assert first.state is UpdateState.COMMITTED
        second = device.install(bundles["new"], 2)
        assert (second.state, second.running) == (UpdateState.COMMITTED, bundles["new"].digest)
        assert (second.previous, second.version, second.serial) == (
            bundles["old"].digest, "tiny 3.0.0", 3,
        )  # fmt: skip
        assert second.preflight is not None
        assert second.preflight.golden_agreement == 1.0
        assert second.preflight.p95_ms > 0.0
        assert second.probation is not None
        assert second.probation.frames >= 100
        current = updater.current("main")
        assert current is not None
        assert current.name == device.host.running["main"]
    seqs = [report.report_seq for report in device.reports]
    assert seqs == sorted(set(seqs)), "every report has a number of its own"
    told = [report.slots[0].state for report in device.reports if report.slots[0].gen == 2]
    order = [state for n, state in enumerate(told) if n == 0 or told[n - 1] is not state]
    assert order == [
        "assigned", "meta", "fetch", "staged", "preflight", "activating", "probation", "committed",
    ]  # fmt: skip


def test_after_a_restart_the_committed_bundle_runs_and_numbers_go_on(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    with device.running():
        device.install(bundles["old"], 1)
    last = device.reports[-1].report_seq
    device.host.running.clear()
    device.reports.clear()
    with device.running():
        assert device.host.running["main"] == bundles["old"].digest.removeprefix("sha256:")
        device.until(1, UpdateState.COMMITTED)
    assert device.reports[0].report_seq > last


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("foreign", Reason.SIGNATURE),
        ("older", Reason.SERIAL),
        ("wrong", Reason.GOLDEN),
    ],
)
def test_what_must_not_run_never_touches_the_pipelines(
    device: Device, bundles: dict[str, Bundle], name: str, reason: Reason
) -> None:
    with device.running():
        device.install(bundles["old"], 1)
        before = list(device.host.history)
        report = device.install(bundles[name], 2)
        assert (report.state, report.reason) == (UpdateState.REJECTED, reason)
        assert report.detail
        assert report.running == bundles["old"].digest
        assert device.host.history == before
        folder = device.state_dir / "bundles"
        only = {bundles["old"].digest.removeprefix("sha256:")}
        until(lambda: {path.name for path in folder.iterdir()} == only, what="tidied")


def test_a_machine_without_processes_to_spare_costs_time_only(
    device: Device, bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def scarce(folder: Path, variant: str, rules: UpdateRules) -> exam.ExamOutcome:
        calls.append(1)
        if len(calls) == 1:
            raise BlockingIOError("fork: resource temporarily unavailable")
        return examine(folder, variant, rules)

    monkeypatch.setattr("agent.update.runner.examine", scarce)
    with device.running():
        assert device.install(bundles["old"], 1).state is UpdateState.COMMITTED


def test_a_downgrade_needs_the_directors_word(device: Device, bundles: dict[str, Bundle]) -> None:
    with device.running():
        device.install(bundles["old"], 1)
        assert device.install(bundles["older"], 2, downgrade_ok_from=1).reason is Reason.SERIAL
        report = device.install(bundles["older"], 3, downgrade_ok_from=2)
        assert report.state is UpdateState.COMMITTED


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (SlotRule(slot="main", task="detection"), Reason.WRONG_TASK),
        (SlotRule(slot="main", labels=frozenset({"red", "person"})), Reason.MISSING_LABELS),
        (SlotRule(slot="main", runtime="tflite"), Reason.NO_VARIANT),
    ],
)
def test_a_bundle_that_does_not_fit_the_slot_is_rejected(
    device: Device, bundles: dict[str, Bundle], rule: SlotRule, reason: Reason
) -> None:
    with device.running(rule):
        report = device.install(bundles["old"], 1)
        assert (report.state, report.reason) == (UpdateState.REJECTED, reason)
        assert device.server.requests["blobs"] == 0


def test_a_bundle_that_does_badly_is_taken_back(device: Device, bundles: dict[str, Bundle]) -> None:
    name = bundles["nan"].digest.removeprefix("sha256:")
    device.host.behaviours[name] = lambda look: SlotHealth(
        elapsed_s=float(look), frames=look * 20, bad_outputs=look * 20
    )
    with device.running():
        device.install(bundles["old"], 1)
        report = device.install(bundles["nan"], 2)
        assert (report.state, report.reason) == (UpdateState.ROLLED_BACK, Reason.BAD_OUTPUT)
        assert report.running == bundles["old"].digest
        assert device.host.running["main"] == bundles["old"].digest.removeprefix("sha256:")
        device.updater.reconcile()
        assert device.updater.slots()[0].state is UpdateState.ROLLED_BACK, "not tried again"


def test_a_mix_of_labels_that_moves_is_taken_back(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    name = bundles["new"].digest.removeprefix("sha256:")
    device.host.behaviours[name] = lambda look: SlotHealth(
        elapsed_s=look * 10.0, frames=look * 60, label_counts={"blue": look * 60}
    )
    with device.running():
        device.install(bundles["old"], 1)
        assert device.install(bundles["new"], 2).reason is Reason.BEHAVIOUR


def test_a_bad_network_costs_time_only(device: Device, bundles: dict[str, Bundle]) -> None:
    server = device.server
    with device.running():
        server.cuts = [300, 0, 700]
        server.statuses = [503, 500]
        report = device.install(bundles["old"], 1)
        assert report.state is UpdateState.COMMITTED
        assert "bytes=300-" in server.ranges
        model = bundles["new"].manifest.variants[0].sha256
        server.tampered.add(model)
        report = device.install(bundles["new"], 2)
        assert (report.state, report.reason) == (UpdateState.REJECTED, Reason.DIGEST)
        server.tampered.clear()
        assert device.install(bundles["new"], 3).state is UpdateState.COMMITTED


def test_a_newer_assignment_takes_the_place_of_one_that_cannot_be_fetched(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    with device.running():
        device.server.cuts = [0] * 10_000
        device.server.assign(assignment(bundles["old"], 1))
        device.updater.wake()
        device.until(1, UpdateState.FETCH)
        device.server.assign(assignment(bundles["new"], 2))
        device.updater.wake()
        device.until(2, UpdateState.FETCH)
        device.server.cuts = []
        assert device.until(2, UpdateState.COMMITTED).running == bundles["new"].digest


def test_assignments_that_are_not_for_us_are_counted_and_not_obeyed(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    with device.running() as updater:
        device.install(bundles["old"], 5)
        bad = [
            (assignment(bundles["new"], 4), None, "replayed"),
            (assignment(bundles["new"], 6, device="d2"), None, "wrong_device"),
            (assignment(bundles["new"], 6, slot="other"), None, "unknown_slot"),
            (assignment(bundles["new"], 6), SigningKey.generate(), "signature"),
        ]
        for given, signer, cause in bad:
            device.server.envelopes.clear()
            device.server.assign(given, key=signer)
            before = updater.refusals().get(cause, 0)
            updater.reconcile()
            assert updater.refusals()[cause] == before + 1
        assert updater.slots()[0].gen == 5
        assert device.host.history.count(bundles["new"].digest.removeprefix("sha256:")) == 0


def test_a_slot_that_is_not_configured_here_is_turned_down_once_and_by_name(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    with device.running() as updater:
        device.install(bundles["old"], 1)
        device.server.envelopes.clear()
        device.server.assign(assignment(bundles["new"], 7, slot="other"))
        updater.reconcile()
        told = {slot.slot: slot for slot in device.reports[-1].slots}
        assert (told["other"].gen, told["other"].state) == (7, UpdateState.REJECTED)
        assert (told["other"].reason, told["other"].running) == (Reason.NO_SLOT, None)
        assert told["main"].running == bundles["old"].digest
        before = len(device.reports)
        updater.reconcile()
        assert len(device.reports) == before


def test_an_assignment_of_what_runs_is_committed_at_once(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    with device.running():
        device.install(bundles["old"], 1)
        before = list(device.host.history)
        report = device.install(bundles["old"], 2)
        assert (report.gen, report.state) == (2, UpdateState.COMMITTED)
        assert device.host.history == before


def test_a_deadline_that_is_past_rejects(device: Device, bundles: dict[str, Bundle]) -> None:
    with device.running():
        report = device.install(bundles["old"], 1, deadline=SystemClock().wall() - 10)
        assert (report.state, report.reason) == (UpdateState.REJECTED, Reason.DEADLINE)


def test_without_space_the_update_is_rejected(device: Device, bundles: dict[str, Bundle]) -> None:
    with device.running(rules=UpdateRules(min_free=ByteSize(1 << 60))):
        report = device.install(bundles["old"], 1)
        assert (report.state, report.reason) == (UpdateState.REJECTED, Reason.DISK_FULL)
        assert "no space" in report.detail


def test_a_bundle_damaged_on_disk_gives_way_to_the_one_before(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    with device.running():
        device.install(bundles["old"], 1)
        device.install(bundles["new"], 2)
    name = bundles["new"].digest.removeprefix("sha256:")
    model = device.state_dir / "bundles" / name / bundles["new"].manifest.variants[0].file
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    device.reports.clear()
    with device.running():
        report = device.until(2, UpdateState.ROLLED_BACK)
        assert (report.running, report.reason) == (bundles["old"].digest, Reason.DIGEST)
        assert device.host.running["main"] == bundles["old"].digest.removeprefix("sha256:")


def test_without_its_journal_the_device_runs_what_the_links_say(
    device: Device, bundles: dict[str, Bundle]
) -> None:
    with device.running():
        device.install(bundles["old"], 1)
    (device.state_dir / "update.sqlite").write_bytes(b"noise" * 5000)
    for side in ("-wal", "-shm"):
        (device.state_dir / f"update.sqlite{side}").unlink(missing_ok=True)
    device.host.running.clear()
    with device.running() as updater:
        assert device.host.running["main"] == bundles["old"].digest.removeprefix("sha256:")
        assert "set aside" in updater.notices[0]
        assert device.install(bundles["new"], 2).state is UpdateState.COMMITTED


Break = Callable[[Path], None]


def _cut_short(model: Path) -> None:
    os.truncate(model, 20)


def _noise(model: Path) -> None:
    model.write_bytes(os.urandom(500))


@pytest.mark.parametrize("damage", [_cut_short, _noise])
def test_the_exam_survives_any_model_file(
    bundles: dict[str, Bundle], tmp_path: Path, damage: Break
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["old"].folder, folder)
    damage(folder / bundles["old"].manifest.variants[0].file)
    outcome = examine(folder, "onnx-float32", UpdateRules())
    assert outcome.reason in {Reason.LOAD, Reason.CRASH}
    assert outcome.detail


def test_the_exam_is_bounded_in_time_and_memory(bundles: dict[str, Bundle]) -> None:
    folder = bundles["old"].folder
    slow = examine(folder, "onnx-float32", UpdateRules(exam_timeout=Duration(0.01)))
    assert slow.reason is Reason.LATENCY
    greedy = examine(folder, "onnx-float32", UpdateRules(exam_memory=ByteSize(40 << 20)))
    assert greedy.reason in {Reason.LOAD, Reason.CRASH}


def test_the_exam_ends_with_the_agent(bundles: dict[str, Bundle]) -> None:
    reading, writing = os.pipe()
    argv = [
        sys.executable, "-m", "agent.preflight", str(bundles["old"].folder), "onnx-float32",
    ]  # fmt: skip
    with subprocess.Popen(argv, stdin=reading, stdout=subprocess.PIPE, cwd=ROOT) as child:
        os.close(reading)
        os.close(writing)
        assert child.wait(20.0) == -signal.SIGKILL


POINTS = [
    "update.before_journal@4",
    "update.saved_assigned",
    "update.saved_meta",
    "update.after_chunk",
    "update.before_blob_rename",
    "update.saved_staged",
    "update.before_stage",
    "update.saved_preflight",
    "update.saved_activating",
    "update.before_switch",
    "update.saved_probation",
    "update.before_watch",
    "update.saved_committed",
    "update.before_tidy",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_anywhere_is_taken_up_after_the_restart(
    server: FleetServer, key: SigningKey, bundles: dict[str, Bundle], tmp_path: Path, point: str
) -> None:
    server.director.save(tmp_path / "director.key", tmp_path / "director.pub")
    key.save(tmp_path / "release.key", tmp_path / "release.pub")
    server.assign(assignment(bundles["old"], 1))
    assert _child(tmp_path, server, 1) == [f"committed {bundles['old'].digest}"]
    server.assign(assignment(bundles["new"], 2))
    name, _, count = point.partition("@")
    killed = _child(tmp_path, server, 2, point=f"{name}:kill@{count or 1}")
    assert killed == []
    assert _child(tmp_path, server, 2) == [f"committed {bundles['new'].digest}"]
    left = {path.name for path in (tmp_path / "state" / "bundles").iterdir()}
    assert left == {bundles[which].digest.removeprefix("sha256:") for which in ("old", "new")}


def _child(folder: Path, server: FleetServer, gen: int, *, point: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.emulation.update_child", str(folder), server.url, str(gen)],
        cwd=ROOT,
        env={**os.environ, failpoint.VARIABLE: point},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if point else 0), done.stderr
    return done.stdout.splitlines()
