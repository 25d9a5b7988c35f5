"""A slot under every kind of trouble: loops, lost bundles, unwilling disks, wrong clocks."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.update.exam import ExamOutcome
from agent.update.journal import SqliteJournal
from agent.update.ports import SlotHealth, StoppingError
from agent.update.record import SlotRecord
from agent.update.slot import Slot
from edgeops.bundle import Bundle, file_ref, write_manifest
from edgeops.contracts.manifest import Golden
from edgeops.contracts.update import Probation, Reason, UpdateState
from edgeops.durable import switch_link
from edgeops.errors import StorageError
from edgeops.trust import SigningKey
from tests.emulation.host import EmulatedHost
from tests.emulation.power import PowerCutError
from tests.unit.agent.update_device import PASSED, Device, assignment

State = UpdateState


def name_of(bundle: Bundle) -> str:
    return bundle.digest.removeprefix("sha256:")


@pytest.fixture
def old(plain_bundle: Callable[..., Bundle]) -> Bundle:
    return plain_bundle(serial=1, version="1.0.0", model=b"old")


@pytest.fixture
def new(plain_bundle: Callable[..., Bundle]) -> Bundle:
    return plain_bundle(serial=2, version="2.0.0", model=b"new")


@pytest.fixture
def device(tmp_path: Path, release_key: SigningKey, old: Bundle, new: Bundle) -> Iterator[Device]:
    made = Device.make(tmp_path, release_key)
    made.source.publish(old, new)
    assert made.run(assignment(old, 1)).state is State.COMMITTED
    made.reports.clear()
    yield made
    made.switch_off()


def cut_in_probation(device: Device) -> None:
    """Let the machine die at the first look at the new bundle."""

    def die(_look: int) -> SlotHealth:
        raise PowerCutError

    name = next(b for b in device.source.bundles.values() if b.manifest.serial == 2)
    device.host.behaviours[name_of(name)] = die


def test_restarts_without_one_inference_are_a_boot_loop(
    device: Device, old: Bundle, new: Bundle
) -> None:
    cut_in_probation(device)
    for _ in range(device.rules.max_boots):
        with pytest.raises(PowerCutError):
            device.run(assignment(new, 2))
    record = device.run(assignment(new, 2))
    assert (record.state, record.reason) == (State.ROLLED_BACK, Reason.BOOT_LOOP)
    assert device.answers() == device.linked() == old.digest


def test_a_bundle_whose_activation_kills_the_machine_is_a_boot_loop(
    device: Device, old: Bundle, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate = EmulatedHost.activate

    def deadly(host: EmulatedHost, slot: str, bundle: Path | None, variant: str) -> None:
        if bundle is not None and bundle.name == name_of(new):
            raise PowerCutError
        activate(host, slot, bundle, variant)

    monkeypatch.setattr(EmulatedHost, "activate", deadly)
    for _ in range(device.rules.max_boots):
        with pytest.raises(PowerCutError):
            device.run(assignment(new, 2))
    record = device.run(assignment(new, 2))
    assert (record.state, record.reason) == (State.ROLLED_BACK, Reason.BOOT_LOOP)
    assert device.answers() == device.linked() == old.digest


def test_power_cuts_with_progress_do_not_fail_a_probation(device: Device, new: Bundle) -> None:
    looks = 0

    def slow(look: int) -> SlotHealth:
        nonlocal looks
        looks += 1
        if looks % 3 == 0:
            raise PowerCutError
        return SlotHealth(elapsed_s=look * 1.0, frames=look)

    device.host.behaviours[name_of(new)] = slow
    for _ in range(5):
        with pytest.raises(PowerCutError):
            device.run(assignment(new, 2))
    del device.host.behaviours[name_of(new)]
    record = device.run()
    assert record.state is State.COMMITTED
    assert record.probation is not None
    assert record.probation.boots == 5


def test_progress_does_not_count_for_ever(device: Device, new: Bundle) -> None:
    def dies_late(look: int) -> SlotHealth:
        if look > 2:
            raise PowerCutError
        return SlotHealth(elapsed_s=look * 1.0, frames=look)

    device.host.behaviours[name_of(new)] = dies_late
    for _ in range(4 * device.rules.max_boots):
        with pytest.raises(PowerCutError):
            device.run(assignment(new, 2))
    record = device.run(assignment(new, 2))
    assert record.reason is Reason.BOOT_LOOP


def test_an_assignment_during_probation_waits_for_its_end(
    device: Device, old: Bundle, new: Bundle
) -> None:
    slot = device.start()

    def meanwhile(look: int) -> SlotHealth:
        if look == 1:
            slot.offer(assignment(old, 3, downgrade_ok_from=99))
        return SlotHealth(elapsed_s=look * 10.0, frames=look * 60)

    device.host.behaviours[name_of(new)] = meanwhile
    slot.offer(assignment(new, 2))
    slot.drive()
    assert device.reports.count("committed") == 2
    first = device.reports.index("committed")
    assert "assigned" not in device.reports[1:first]
    assert (slot.record.high_gen, device.answers()) == (3, old.digest)


def test_when_both_bundles_fail_the_factory_one_answers(
    device: Device, old: Bundle, new: Bundle, plain_bundle: Callable[..., Bundle]
) -> None:
    factory = plain_bundle("factory", serial=1, model=b"factory")
    home = device.state_dir / "bundles" / name_of(factory)
    factory.folder.rename(home)
    switch_link(device.state_dir / "slots/main/factory", f"../../bundles/{home.name}")

    def breaks_everything(_look: int) -> SlotHealth:
        device.host.unloadable |= {name_of(old), name_of(new)}
        return SlotHealth(elapsed_s=1.0, frames=1, restarts=5)

    device.host.behaviours[name_of(new)] = breaks_everything
    record = device.run(assignment(new, 2))
    assert record.state is State.FALLBACK
    assert record.reason is Reason.CRASH, "the first cause stands"
    assert "cannot be loaded" in record.detail
    assert device.answers() == device.linked() == factory.digest
    assert device.run().state is State.FALLBACK
    assert device.answers() == factory.digest, "after a restart as well"


def test_without_a_factory_bundle_the_slot_is_left_empty_and_takes_the_next(
    device: Device, old: Bundle, new: Bundle
) -> None:
    slot = device.start()
    device.host.unloadable |= {name_of(old), name_of(new)}
    slot.offer(assignment(new, 2))
    slot.drive()
    record = slot.record
    assert record.state is State.FALLBACK
    assert record.report().running is None
    assert device.answers() == device.linked() == ""
    device.host.unloadable.clear()
    assert device.run(assignment(new, 3)).state is State.COMMITTED
    assert device.answers() == new.digest


def test_the_way_back_does_not_wait_for_the_disk(
    device: Device, old: Bundle, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[str] = []
    save = SqliteJournal.save

    def unwilling(journal: SqliteJournal, record: SlotRecord) -> None:
        if record.state is State.ROLLING_BACK and len(answered) < 3:
            answered.append(device.answers())
            raise StorageError("no space left on device")
        save(journal, record)

    monkeypatch.setattr(SqliteJournal, "save", unwilling)
    device.host.behaviours[name_of(new)] = lambda _: SlotHealth(elapsed_s=1.0, restarts=9)
    record = device.run(assignment(new, 2))
    assert answered == [new.digest, old.digest, old.digest], "healed before it was written"
    assert record.state is State.ROLLED_BACK


def test_an_unwilling_journal_delays_every_effect(
    device: Device, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = 0
    save = SqliteJournal.save

    def unwilling(journal: SqliteJournal, record: SlotRecord) -> None:
        nonlocal refusals
        refusals += 1
        if refusals % 3:
            raise StorageError("no space left on device")
        save(journal, record)

    monkeypatch.setattr(SqliteJournal, "save", unwilling)
    assert device.run(assignment(new, 2)).state is State.COMMITTED
    assert refusals > 20


def test_a_lost_network_is_tried_again_and_told(device: Device, new: Bundle) -> None:
    device.source.failures = 4
    slot = device.start()
    slot.offer(assignment(new, 2))
    slot.drive()
    assert slot.record.state is State.COMMITTED
    assert slot.record.reason is None, "what passed is forgotten"
    assert device.reports.count("meta") == 2, "told once, not with each try"


def test_a_network_that_changes_bytes_is_tried_again_but_not_for_ever(
    device: Device, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def portal(_digest: str) -> bytes:
        nonlocal asked
        asked += 1
        return b"<html>Please log in</html>"

    monkeypatch.setattr(type(device.source), "manifest", lambda _self, digest: portal(digest))
    record = device.run(assignment(new, 2))
    assert (record.state, record.reason, asked) == (State.REJECTED, Reason.DIGEST, 3)


def test_a_failed_generation_is_tried_again_only_under_a_new_one(
    device: Device, new: Bundle
) -> None:
    device.exam = lambda _folder, _variant: ExamOutcome(None, Reason.LOAD, "broken")
    assert device.run(assignment(new, 2)).state is State.REJECTED
    device.exam = lambda _folder, _variant: PASSED
    slot = device.start()
    assert not slot.offer(assignment(new, 2))
    assert not slot.offer(assignment(new, 1))
    slot.drive()
    assert slot.record.state is State.REJECTED
    assert device.run(assignment(new, 3)).state is State.COMMITTED


def test_a_lost_bundle_without_a_bundle_before_leaves_the_slot_to_the_factory_one(
    device: Device, old: Bundle, plain_bundle: Callable[..., Bundle]
) -> None:
    factory = plain_bundle("factory", serial=1, model=b"factory")
    home = device.state_dir / "bundles" / name_of(factory)
    factory.folder.rename(home)
    switch_link(device.state_dir / "slots/main/factory", f"../../bundles/{home.name}")
    shutil.rmtree(device.state_dir / "bundles" / name_of(old))
    record = device.run()
    assert (record.state, record.reason) == (State.ROLLED_BACK, Reason.DIGEST)
    assert device.answers() == device.linked() == factory.digest


class WallClock:
    """A clock whose wall time the test sets; it advances with each look."""

    def __init__(self, wall_s: float) -> None:
        self.wall_s = wall_s
        self.mono_s = 0.0

    def wall(self) -> float:
        self.wall_s += 1.0
        return self.wall_s

    def monotonic(self) -> float:
        self.mono_s += 100.0  # every wait is over at once
        return self.mono_s


def test_an_update_waits_for_its_hour(device: Device, new: Bundle) -> None:
    clock = WallClock(1_800_000_000.0)
    device.clock = clock
    given = replace(assignment(new, 2), not_before=1_800_000_050.0)
    assert device.run(given).state is State.COMMITTED
    assert clock.wall_s > 1_800_000_050.0


def test_a_clock_that_is_plainly_wrong_tells_no_hour(device: Device, new: Bundle) -> None:
    device.clock = WallClock(0.0)
    given = replace(assignment(new, 2), not_before=1_800_000_050.0, deadline=1_800_000_090.0)
    assert device.run(given).state is State.COMMITTED


def test_shadow_runs_are_refused_with_a_word(device: Device, new: Bundle) -> None:
    record = device.run(replace(assignment(new, 2), mode="shadow"))
    assert (record.state, record.reason) == (State.REJECTED, Reason.NO_VARIANT)
    assert "shadow" in record.detail


def test_a_probation_without_time_or_frames_ends_at_once(device: Device, new: Bundle) -> None:
    given = replace(assignment(new, 2), probation=Probation(s=0.0, frames=0))
    device.host.behaviours[name_of(new)] = lambda _: SlotHealth(elapsed_s=0.0)
    assert device.run(given).state is State.COMMITTED


def test_a_record_that_makes_no_sense_counts_as_none(device: Device, old: Bundle) -> None:
    device.switch_off()
    with closing(sqlite3.connect(device.state_dir / "update.sqlite")) as db, db:
        db.execute("UPDATE slot SET body = '{\"state\": 7}'")
    record = device.run()
    assert (record.state, device.answers()) == (State.COMMITTED, old.digest)


def test_tidying_keeps_what_any_slot_needs(device: Device, old: Bundle, new: Bundle) -> None:
    stray = device.state_dir / "bundles" / ("f" * 64)
    stray.mkdir()
    device.run(assignment(new, 2))
    assert {path.name for path in (device.state_dir / "bundles").iterdir()} == {
        name_of(old), name_of(new),
    }  # fmt: skip


def stopping(_host: EmulatedHost, _slot: str, _bundle: Path | None, _variant: str) -> None:
    raise StoppingError("the pipeline belt is stopping")


def test_a_stop_while_the_running_bundle_is_loaded_is_no_reason_to_go_back(
    device: Device, old: Bundle, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.run(assignment(new, 2)).state is State.COMMITTED
    with monkeypatch.context() as patch:
        patch.setattr(EmulatedHost, "activate", stopping)
        slot = device.start()
        slot.stop()
        slot.drive()
    assert device.start().record.state is State.COMMITTED
    assert device.answers() == device.linked() == new.digest


def test_a_stop_while_a_new_bundle_is_activated_goes_on_after_the_next_start(
    device: Device, old: Bundle, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    activate = EmulatedHost.activate

    def cut_short(host: EmulatedHost, slot: str, bundle: Path | None, variant: str) -> None:
        if bundle is not None and bundle.name == name_of(new):
            asked.set()
            raise StoppingError("the pipeline belt is stopping")
        activate(host, slot, bundle, variant)

    with monkeypatch.context() as patch:
        patch.setattr(EmulatedHost, "activate", cut_short)
        slot = device.start()
        slot.offer(assignment(new, 2))
        work = threading.Thread(target=slot.drive)
        work.start()
        assert asked.wait(10)
        slot.stop()  # the pipelines are told a moment before the slots
        work.join(10)
        assert not work.is_alive()
    record = device.run()
    assert (record.state, record.running and record.running.digest) == (
        State.COMMITTED,
        new.digest,
    )


def test_a_lost_bundle_on_a_disk_that_refuses_does_not_hold_up_the_start(
    device: Device, old: Bundle, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.run(assignment(new, 2)).state is State.COMMITTED
    shutil.rmtree(device.state_dir / "bundles" / name_of(new))

    def refuse(_journal: SqliteJournal, _record: SlotRecord) -> None:
        raise StorageError("the disk is read-only")

    monkeypatch.setattr(SqliteJournal, "save", refuse)
    started: list[Slot] = []
    starter = threading.Thread(target=lambda: started.append(device.start()), daemon=True)
    starter.start()
    starter.join(5)
    assert started, "recover waits for the disk"
    slot = started[0]
    work = threading.Thread(target=slot.drive)
    work.start()
    with device.host.changed:
        assert device.host.changed.wait_for(lambda: device.answers() == old.digest, 10)
    slot.stop()
    work.join(10)


def test_without_journal_and_current_bundle_the_one_before_answers(
    device: Device, old: Bundle, new: Bundle
) -> None:
    assert device.run(assignment(new, 2)).state is State.COMMITTED
    device.switch_off()
    (device.state_dir / "update.sqlite").write_bytes(b"rotten" * 1000)
    for side in ("-wal", "-shm"):
        (device.state_dir / f"update.sqlite{side}").unlink(missing_ok=True)
    (device.state_dir / "bundles" / name_of(new) / "manifest.json").write_bytes(b"rotten")
    device.start()
    assert device.answers() == old.digest


def test_a_bundle_lost_while_an_update_is_fetched_is_stood_in_for(
    device: Device, old: Bundle, new: Bundle, plain_bundle: Callable[..., Bundle]
) -> None:
    third = plain_bundle(serial=3, version="3.0.0", model=b"third")
    device.source.publish(third)
    assert device.run(assignment(new, 2)).state is State.COMMITTED
    with closing(SqliteJournal(device.state_dir / "update.sqlite")) as journal:
        record = journal.load("main")
        assert record is not None
        journal.save(
            replace(
                record,
                state=State.META,
                assignment=replace(assignment(third, 3), bundle="sha256:" + "0" * 64),
            )
        )
    shutil.rmtree(device.state_dir / "bundles" / name_of(new))
    slot = device.start()
    assert device.answers() == old.digest
    assert slot.record.running is not None
    assert slot.record.running.digest == old.digest


def test_decayed_golden_samples_do_not_silence_a_working_bundle(
    device: Device, plain_bundle: Callable[..., Bundle], release_key: SigningKey
) -> None:
    plain = plain_bundle(serial=3, version="3.0.0", model=b"third")
    (plain.folder / "golden").mkdir()
    for name in ("golden/samples.npz", "golden/expected.json"):
        (plain.folder / name).write_bytes(b"sound")
    golden = Golden(
        samples=file_ref(plain.folder, "golden/samples.npz"),
        expected=file_ref(plain.folder, "golden/expected.json"),
        count=1,
    )
    examined = write_manifest(plain.folder, replace(plain.manifest, golden=golden), release_key)
    device.source.publish(examined)
    assert device.run(assignment(examined, 2)).state is State.COMMITTED
    on_disk = device.state_dir / "bundles" / name_of(examined)
    (on_disk / golden.samples.file).write_bytes(b"decay")
    assert device.run().state is State.COMMITTED
    assert device.answers() == examined.digest


def test_the_mix_to_compare_with_is_that_of_the_last_answers(
    device: Device, old: Bundle, new: Bundle
) -> None:
    by_night, by_day = {"no": 100_000}, {"yes": 500}

    def before(look: int) -> SlotHealth:
        return SlotHealth(
            elapsed_s=look * 10.0, frames=100_500, label_counts=by_night, recent_counts=by_day
        )

    def after(look: int) -> SlotHealth:
        return SlotHealth(elapsed_s=look * 10.0, frames=look * 60, label_counts={"yes": look * 60})

    device.host.behaviours = {name_of(old): before, name_of(new): after}
    record = device.run(assignment(new, 2))
    assert record.state is State.COMMITTED, record.detail
