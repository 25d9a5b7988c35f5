"""An update that loses power anywhere, and again while it recovers, leaves a model that answers."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.update.journal import SqliteJournal
from agent.update.machine import COMMITTING
from agent.update.ports import SlotHealth
from edgeops.bundle import Bundle
from edgeops.contracts.update import UpdateState
from edgeops.trust import SigningKey
from tests.emulation.power import PowerCutError
from tests.unit.agent.update_device import Device, assignment

LONGEST = 20
"""Operations of the longest course; ``test_the_cuts_reach_every_operation`` holds it."""


def sick(look: int) -> SlotHealth:
    return SlotHealth(elapsed_s=float(look), frames=look * 30, bad_outputs=look * 30)


@pytest.fixture
def bundles(plain_bundle: Callable[..., Bundle]) -> dict[str, Bundle]:
    return {
        "old": plain_bundle(serial=1, version="1.0.0", model=b"old"),
        "good": plain_bundle(serial=2, version="2.0.0", model=b"good"),
        "sick": plain_bundle(serial=3, version="3.0.0", model=b"sick"),
        "unloadable": plain_bundle(serial=4, version="4.0.0", model=b"junk"),
    }


@pytest.fixture
def device(tmp_path: Path, release_key: SigningKey, bundles: dict[str, Bundle]) -> Iterator[Device]:
    made = Device.make(tmp_path, release_key)
    made.source.publish(*bundles.values())
    made.host.behaviours[bundle_name(bundles["sick"].digest)] = sick
    made.host.unloadable.add(bundle_name(bundles["unloadable"].digest))
    assert made.run(assignment(bundles["old"], 1)).state is UpdateState.COMMITTED
    yield made
    made.switch_off()


KINDS = ["good", "sick", "unloadable"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_cuts_reach_every_operation(
    device: Device, bundles: dict[str, Bundle], kind: str
) -> None:
    device.run(assignment(bundles[kind], 2))
    assert device.power.operations <= LONGEST


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", range(LONGEST + 1))
def test_power_cuts_anywhere_leave_a_model_that_answers(
    device: Device, bundles: dict[str, Bundle], tmp_path: Path, first: int, kind: str
) -> None:
    old, new = bundles["old"].digest, bundles[kind].digest
    given = assignment(bundles[kind], 2)
    device.switch_off()
    shutil.copytree(device.state_dir, tmp_path / "before", symlinks=True)
    for second in (None, 0, 1, 2, 3):
        shutil.rmtree(device.state_dir)
        shutil.copytree(tmp_path / "before", device.state_dir, symlinks=True)
        with suppress(PowerCutError):
            device.run(given, cut_before=first)
        check_intent(device)
        if second is not None:
            with suppress(PowerCutError):
                device.run(given, cut_before=second)

        record = device.run(given)

        assert record.running is not None
        assert device.answers() == device.linked() == record.running.digest
        assert device.answers() == (new if kind == "good" else old)
        assert record.state is (
            UpdateState.COMMITTED if kind == "good" else UpdateState.ROLLED_BACK
        )
        assert (device.state_dir / "bundles" / bundle_name(old)).is_dir(), "no way back"
        assert not list((device.state_dir / "downloads").iterdir())


def check_intent(device: Device) -> None:
    """Hold that the journal knew of every change before it was made."""
    device.switch_off()
    journal = SqliteJournal(device.state_dir / "update.sqlite")
    record = journal.load("main")
    journal.close()
    assert record is not None
    assert record.running is not None
    if device.linked() != record.running.digest or device.answers() != record.running.digest:
        assert record.state in COMMITTING or not device.answers()


def bundle_name(digest: str) -> str:
    return digest.removeprefix("sha256:")
