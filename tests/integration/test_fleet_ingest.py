"""The server with a real broker and devices: acknowledged means stored, whatever dies."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeops.contracts.update import SlotReport, UpdateState
from fleet.broker.mosquitto import find_mosquitto
from tests.integration.fleet_device import EmulatedDevice, connected
from tests.integration.fleet_process import FleetProcess, fleet_process, until

BROKERS = [
    "builtin",
    pytest.param(
        "mosquitto",
        marks=[
            pytest.mark.mosquitto,
            pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed"),
        ],
    ),
]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"kind": request.param, "listen": "127.0.0.1:0"}


@pytest.fixture
def server(tmp_path: Path, broker: dict[str, str]) -> Iterator[FleetProcess]:
    with fleet_process(tmp_path, broker) as process:
        yield process


def stored(server: FleetProcess, name: str) -> list[int]:
    """Return the stored windows of a device, from the file itself."""
    connection = sqlite3.connect(server.state / "fleet.sqlite")
    try:
        rows = connection.execute(
            "SELECT seq_from, seq_to FROM frame WHERE device = ? ORDER BY seq_from", (name,)
        ).fetchall()
    finally:
        connection.close()
    return [seq for first, last in rows for seq in range(first, last + 1)]


def test_what_is_acknowledged_is_stored_once(server: FleetProcess) -> None:
    with connected(server, "d1") as device:
        device.make_windows(50)
        device.make_alert(1)
        device.settle()
        for _ in range(3):
            device.publish_frame(1, 50)
            device.publish("alert", device.alert("boot1-1"))
        until(lambda: server.counts().get("repeated.alerts", 0) == 3, "repeats are counted")

        counts = server.counts()
        assert stored(server, "d1") == list(range(1, 51))
        assert (counts["windows"], counts["alerts_raised"]) == (50, 1)
        assert counts["repeated.windows"] >= 150
        assert counts["online"] == 1
        assert device.acks[-1].streams in ({}, {"cam": 50})


def test_reports_move_the_device_list_and_are_acknowledged(server: FleetProcess) -> None:
    with connected(server, "d1") as device:
        seq = device.report(SlotReport(slot="main", gen=0, state=UpdateState.IDLE, version="v 1"))
        until(lambda: any(ack.report_seq == seq for ack in device.acks), "the report's ack")

        with server.client() as client:
            found = client.get_object("devices", "d1")
        assert found["online"] is True
        slots = found["slots"]
        assert isinstance(slots, list)
        assert isinstance(slots[0], dict)
        assert (slots[0]["state"], slots[0]["version"]) == ("idle", "v 1")


def test_hostile_messages_stand_aside_and_others_flow(server: FleetProcess) -> None:
    with connected(server, "d1") as bad, connected(server, "d2") as good:
        for payload in (b"\x00\xff", b"{}", b"[" * 10_000, b'{"v":1}', b"x" * 70_000):
            for kind in ("telemetry/cam", "alert", "reported", "conn"):
                bad.publish(kind, payload)
        bad.publish("alert", good.alert("boot1-5"))  # in another's name, on its own topic
        bad.publish_to("eo/1/default/d2/alert", b"{}")  # on another's topic: the broker drops it
        good.make_windows(10)
        good.settle()
        until(lambda: server.counts()["dead_letters"] == 21, "all stand aside")

        counts = server.counts()
        assert counts["refused.wrong-device"] == 1
        assert counts["refused.too-large"] == 5  # one of the deep lists is too long for conn
        assert stored(server, "d2") == list(range(1, 11))
        assert counts["alerts_raised"] == 0
        bad.make_windows(1)
        bad.settle()


@pytest.mark.parametrize("point", ["ingest.before_commit", "ingest.after_commit"])
def test_a_server_killed_around_its_commit_loses_and_doubles_nothing(
    tmp_path: Path, broker: dict[str, str], point: str
) -> None:
    # The third batch: the first ones carry the device's greeting.
    with fleet_process(tmp_path, broker, failpoint=f"{point}:kill@3") as server:
        device = EmulatedDevice(server, server.enrol("d1"))
        try:
            device.connect()
            for number in range(5):
                device.make_windows(10)
                device.make_alert(number)
                until(
                    lambda: (
                        not (device.outbox.windows or device.outbox.alerts)
                        or not _alive(server.pid)
                    ),
                    "an answer or the end",
                )
                if not _alive(server.pid):
                    break
            server.wait_dead()
            held = len(device.outbox.windows)
            assert held, "it died before it could answer"
            server.start()
            device.make_windows(7)
            device.settle()
            assert stored(server, "d1") == list(range(1, device.outbox.next_seq))
            assert server.counts()["alerts_raised"] == number + 1
        finally:
            device.close()


def _alive(pid: int) -> bool:
    """Return whether a child runs; one that has died and was not waited for counts as dead."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def test_a_broker_killed_in_mid_stream_costs_time_only(server: FleetProcess) -> None:
    with connected(server, "d1") as device:
        device.make_windows(20)
        device.settle()

        for child in _children(server.pid):
            os.kill(child, signal.SIGKILL)
        device.make_windows(20)
        device.make_alert(1)
        device.settle(seconds=40)

        assert stored(server, "d1") == list(range(1, 41))
        until(lambda: server.counts()["online"] == 1, "online again")


def test_a_stopped_server_leaves_no_child_and_starts_again(server: FleetProcess) -> None:
    with connected(server, "d1") as device:
        device.make_windows(5)
        device.settle()
        children = _children(server.pid)

        assert server.stop() == 0
        assert children
        assert not any(Path(f"/proc/{child}").exists() for child in children)
        device.make_windows(5)
        server.start()
        device.settle()
        assert stored(server, "d1") == list(range(1, 11))


def test_a_decommissioned_device_is_refused_at_once(server: FleetProcess) -> None:
    with connected(server, "d1") as device:
        device.make_windows(1)
        device.settle()
        with server.client() as client:
            client.delete("devices", "d1")

        assert device.get("assignments").status == 401
        again = EmulatedDevice(server, {"device": "d1", "secret": device.secret})
        try:
            until(again.is_refused, "the broker refuses it")
        finally:
            again.close()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [
        int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()
    ]
