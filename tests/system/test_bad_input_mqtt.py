"""A real agent and a real server among hostile messages: each is counted, nothing true is lost."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgeops import codec
from edgeops.contracts.credential import Credential
from edgeops.contracts.telemetry import Ack
from edgeops.topics import Kind
from fleet.broker.child import BrokerKind
from tests.emulation.fleet_server import FleetServer
from tests.emulation.ingest import EmulatedIngest
from tests.integration.fleet_device import EmulatedDevice, connected
from tests.integration.fleet_process import FleetProcess, fleet_process, until
from tests.integration.test_agent_run.home import (
    Home,
    RunningAgent,
    eventually,
    write_color_bundle,
    write_video,
)
from tests.integration.test_broker.clients import PASSWORD, RunningBroker, running

CREDENTIAL = Credential(tenant="acme", device="bench-1", secret="s" * 32)
NO_DOCUMENT = (b"", b"\xff\xfe", b"[1]", b"{")
NO_CONTRACT = (b'{"boot": 7}', b'{"boot":"../x"}')


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running(BrokerKind.BUILTIN, tmp_path / "broker") as started:
        started.add_users(CREDENTIAL.device, password=CREDENTIAL.secret)
        started.reload()
        yield started


@pytest.fixture
def ingest(broker: RunningBroker) -> Iterator[EmulatedIngest]:
    made = EmulatedIngest(*broker.address, "fleet", PASSWORD, CREDENTIAL.tenant)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def home(tmp_path: Path, broker: RunningBroker) -> Iterator[Home]:
    folder = tmp_path / "home"
    folder.mkdir()
    write_color_bundle(folder / "bundle")
    write_video(folder / "belt.avi", [("green", 1), ("red", 2), ("green", 2)])
    (folder / "credential.json").write_bytes(codec.canonical(CREDENTIAL))
    host, port = broker.address
    with FleetServer(CREDENTIAL) as server:
        made = Home(folder)
        made.write_config(
            sources="belt: {type: video, path: belt.avi, realtime: true}",
            more=f'fleet: {{url: "{server.url}", mqtt: "{host}:{port}", tenant: acme}}',
        )
        yield made


def _figures(agent: RunningAgent, part: str) -> dict[str, object]:
    found = (agent.status() or {}).get(part) or {}
    assert isinstance(found, dict)
    return found


def test_what_an_agent_cannot_read_is_counted_and_frees_nothing(
    home: Home, ingest: EmulatedIngest
) -> None:
    ingest.answers = False
    with home.running() as agent:
        eventually(lambda: bool(_figures(agent, "link").get("connected")), what="connected")
        for payload in NO_DOCUMENT:
            ingest.send(CREDENTIAL.device, Kind.BELL, payload)
        for payload in NO_DOCUMENT + NO_CONTRACT:
            ingest.send(CREDENTIAL.device, Kind.ACK, payload)
        ingest.send(CREDENTIAL.device, Kind.ACK, b"x" * 300_000)
        # For another device or an earlier life: the topic is ours, the content is not.
        ingest.send(
            CREDENTIAL.device, Kind.ACK, codec.canonical(Ack(boot="f" * 16, alerts=("f-1",)))
        )
        ingest.send("somebody-else", Kind.ACK, b"{}")
        eventually(
            lambda: _figures(agent, "link").get("dropped") == {"malformed": 10, "too_large": 1},
            what="each is counted by its cause",
        )
        eventually(lambda: _figures(agent, "outbox").get("alerts_held") == 2, what="both alerts")
        assert _figures(agent, "outbox")["alerts_acked"] == 0

        ingest.answers = True
        eventually(
            lambda: _figures(agent, "outbox").get("alerts_held") == 0, what="acknowledged at last"
        )
        assert _figures(agent, "outbox")["alerts_acked"] == 2
        agent.stop()
    assert "Traceback" not in agent.log()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_process(folder, {"kind": "builtin", "listen": "127.0.0.1:0"}) as process:
        yield process


def _stored(server: FleetProcess, device: str) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(server.state / "fleet.sqlite")) as connection:
        return connection.execute(
            "SELECT seq_from, seq_to FROM frame WHERE device = ? ORDER BY seq_from", (device,)
        ).fetchall()


def test_the_server_sets_hostile_messages_aside_and_takes_a_replay_once(
    server: FleetProcess,
) -> None:
    with connected(server, "good") as good, connected(server, "bad") as bad:
        good.make_windows(20)
        good.make_alert(1)
        good.settle()
        for payload in NO_DOCUMENT[1:] + NO_CONTRACT:
            bad.publish("telemetry/cam", payload)
        bad.publish("alert", b"x" * 100_000)
        bad.publish("alert", good.alert("boot1-9"))  # in the name of another, on its own topic
        bad.publish_to("eo/1/default/good/alert", codec.canonical(good.alert("boot1-9")))
        for _ in range(3):  # what was acknowledged comes again, word for word
            good.publish_frame(1, 20)
            good.publish("alert", good.alert("boot1-1"))
        until(lambda: server.counts().get("repeated.alerts", 0) == 3, "replays are counted")
        until(lambda: server.counts()["dead_letters"] == 7, "the rest stands aside")

        counts = server.counts()
        assert counts["refused.malformed"] == 5
        assert counts["refused.too-large"] == 1
        assert counts["refused.wrong-device"] == 1
        assert (counts["windows"], counts["alerts_raised"]) == (20, 1)
        covered = [seq for first, last in _stored(server, "good") for seq in range(first, last + 1)]
        assert covered == list(range(1, 21))
        letters = server.cli("dead-letters", "--json")
        assert len(json.loads(letters.stdout)) == 7
    assert "Traceback" not in server.log()


def test_an_old_devices_secret_opens_nothing(server: FleetProcess) -> None:
    credential = server.enrol("gone")
    with server.client() as client:
        client.delete("devices", "gone")

    device = EmulatedDevice(server, credential)
    try:
        until(device.is_refused, "the broker refuses it")
        assert device.get("assignments").status == 401
    finally:
        device.close()
