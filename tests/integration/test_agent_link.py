"""The agent's line to a real broker: everything gets home, nothing it hears can hurt it."""

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from agent.broker_address import BrokerAddress
from agent.link import Link, LinkRules
from agent.outbox.outbox import Outbox
from agent.outbox.sending import SendRules
from edgeops import codec
from edgeops.clock import SystemClock
from edgeops.contracts.credential import Credential
from edgeops.contracts.telemetry import Ack
from edgeops.contracts.update import Bell, Connection, DeviceReport
from edgeops.topics import Kind
from fleet.broker.child import BrokerKind
from fleet.broker.mosquitto import find_mosquitto
from tests.emulation.ingest import EmulatedIngest
from tests.integration.test_broker.clients import PASSWORD, RunningBroker, running, until
from tests.unit.agent.outbox_words import alert, opened, window

SECRET = secrets.token_hex(16)
RULES = LinkRules(
    keepalive_s=2,
    retry_base_s=0.05,
    retry_cap_s=0.2,
    refused_base_s=0.3,
    refused_cap_s=0.5,
    send=SendRules(timeout_s=0.5, cap_s=1.0),
)


@pytest.fixture(
    params=[
        BrokerKind.BUILTIN,
        pytest.param(
            BrokerKind.MOSQUITTO,
            marks=[
                pytest.mark.mosquitto,
                pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed"),
            ],
        ),
    ]
)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningBroker]:
    with running(request.param, tmp_path / "broker") as started:
        yield started


@pytest.fixture
def builtin(tmp_path: Path) -> Iterator[RunningBroker]:
    with running(BrokerKind.BUILTIN, tmp_path / "broker") as started:
        yield started


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    (tmp_path / "agent").mkdir()
    made = opened(tmp_path / "agent")
    yield made
    made.close()


@contextmanager
def ingest_at(broker: RunningBroker) -> Iterator[EmulatedIngest]:
    host, port = broker.address
    ingest = EmulatedIngest(host, port, "fleet", PASSWORD, "acme")
    ingest.start()
    try:
        yield ingest
    finally:
        ingest.stop()


@contextmanager
def linked(
    address: tuple[str, int],
    outbox: Outbox,
    *,
    secret: str = SECRET,
    on_wake: Callable[[], None] = lambda: None,
    running: dict[str, str] | None = None,
) -> Iterator[Link]:
    link = Link(
        address=BrokerAddress(host=address[0], port=address[1]),
        credential=Credential(tenant="acme", device="d9", secret=secret),
        outbox=outbox,
        connection=lambda: Connection(
            device="d9", online=True, boot="boot1", running=running or {}
        ),
        on_wake=on_wake,
        clock=SystemClock(),
        rules=RULES,
    )
    link.start()
    try:
        yield link
    finally:
        link.stop()


def admit(broker: RunningBroker, secret: str = SECRET) -> None:
    broker.add_users("d9", password=secret)
    broker.reload()


def say_much(outbox: Outbox, alerts: int, windows: int) -> None:
    for number in range(1, alerts + 1):
        outbox.put_alert(alert(number), None)
    for number in range(1, windows + 1):
        outbox.put_window("belt", window(number))
        outbox.put_window("yard", window(number))
    assert outbox.flush(10.0)


def test_everything_gets_home_and_the_outbox_empties(broker: RunningBroker, outbox: Outbox) -> None:
    admit(broker)
    say_much(outbox, alerts=40, windows=300)
    with ingest_at(broker) as ingest, linked(broker.address, outbox) as link:
        until(lambda: outbox.spans() == () and not outbox.unacked_alerts(1), what="all home")

        assert ingest.windows["boot1", "belt"] == set(range(1, 301))
        assert ingest.windows["boot1", "yard"] == set(range(1, 301))
        assert len(ingest.alerts) == 40
        assert ingest.alert_order[0] == "boot1-40", "the newest first"
        assert link.state().connected
        outbox.put_alert(alert(41), None)
        until(lambda: "boot1-41" in ingest.alerts, what="a live alert")
    until(lambda: outbox.flush(1.0) and outbox.counters().windows_held == 0, what="freed on disk")


def test_a_broker_that_dies_in_the_middle_costs_time_only(
    broker: RunningBroker, outbox: Outbox
) -> None:
    admit(broker)
    say_much(outbox, alerts=20, windows=50)
    host, port = broker.address
    with linked((host, port), outbox) as link:
        until(lambda: link.state().connected, what="connected")
        broker.do(broker.child.stop())
        until(lambda: not link.state().connected, what="noticed")
        for number in range(100, 120):
            outbox.put_alert(alert(number), None)
        broker.do(broker.child.start())
        with ingest_at(broker) as ingest:
            until(lambda: len(ingest.alerts) == 40, what="all alerts")
            until(lambda: outbox.spans() == (), what="all windows")
            assert ingest.windows["boot1", "belt"] == set(range(1, 51))
        assert link.state().reconnects >= 1
        assert link.state().failures["broken"] >= 1


def test_nothing_is_freed_by_the_broker_alone(builtin: RunningBroker, outbox: Outbox) -> None:
    admit(builtin)
    say_much(outbox, alerts=3, windows=10)
    with ingest_at(builtin) as ingest, linked(builtin.address, outbox):
        ingest.answers = False
        until(lambda: ingest.arrived["alert"] >= 6, what="repeated while nobody answers")
        assert len(outbox.unacked_alerts(9)) == 3
        assert outbox.counters().windows_held == 20
        ingest.answers = True
        until(lambda: outbox.spans() == () and not outbox.unacked_alerts(1), what="all home")


def test_conn_is_retained_and_the_last_will_follows(broker: RunningBroker, outbox: Outbox) -> None:
    admit(broker)
    digest = "sha256:" + "a" * 64
    bundles: dict[str, str] = {}
    with linked(broker.address, outbox, running=bundles) as link:
        until(lambda: link.state().sent.get("conn", 0) == 1, what="announced")
        with ingest_at(broker) as ingest:
            until(lambda: [c.online for c in ingest.conns] == [True], what="retained")
            bundles["main"] = digest
            link.report(DeviceReport(device="d9", boot="boot1", report_seq=1, slots=()))
            until(lambda: len(ingest.conns) == 2, what="announced anew")
            assert ingest.conns[-1].running == {"main": digest}
            link.stop()
            until(lambda: not ingest.conns[-1].online, what="goodbye")
    with ingest_at(broker) as later:
        until(lambda: [c.online for c in later.conns] == [False], what="retained goodbye")


def test_a_report_is_repeated_until_stored_and_a_newer_one_takes_its_place(
    builtin: RunningBroker, outbox: Outbox
) -> None:
    admit(builtin)
    with ingest_at(builtin) as ingest, linked(builtin.address, outbox) as link:
        ingest.answers = False
        link.report(DeviceReport(device="d9", boot="boot1", report_seq=1, slots=()))
        until(lambda: len(ingest.reports) >= 2, what="repeated")
        link.report(DeviceReport(device="d9", boot="boot1", report_seq=2, slots=()))
        until(lambda: ingest.reports[-1].report_seq == 2, what="the newer one")
        ingest.answers = True
        until(lambda: link.state().acked > 0, what="acknowledged")
        sent = link.state().sent["reported"]
        threading.Event().wait(1.5)
        assert link.state().sent["reported"] == sent


def test_what_it_hears_is_counted_by_cause_and_hurts_nobody(
    builtin: RunningBroker, outbox: Outbox
) -> None:
    admit(builtin)
    outbox.put_alert(alert(1), None)
    rung = threading.Semaphore(0)
    with ingest_at(builtin) as ingest:
        ingest.answers = False
        ingest.send("d9", Kind.BELL, codec.canonical(Bell(gen=7)), retain=True)
        with linked(builtin.address, outbox, on_wake=rung.release) as link:
            assert rung.acquire(timeout=5.0), "a session wakes the updater"
            for payload in (b"", b"\xff\xfe", b"[1]", b'{"boot": 7}', b'{"boot":"../x"}'):
                ingest.send("d9", Kind.ACK, payload)
            ingest.send("d9", Kind.ACK, b"[" * 100_000)
            ingest.send("d9", Kind.ACK, b"x" * 300_000)
            ingest.send("d9", Kind.ACK, codec.canonical(Ack(boot="b", alerts=("z" * 50,) * 999)))
            ingest.send("d9", Kind.BELL, b'{"gen": -1}')
            until(lambda: sum(link.state().dropped.values()) == 9, what="all refused")
            assert link.state().dropped == {"malformed": 7, "too_large": 1, "retained": 1}
            assert not rung.acquire(blocking=False)
            ingest.send("d9", Kind.BELL, codec.canonical(Bell(gen=8)))
            assert rung.acquire(timeout=5.0), "a true bell wakes the updater"
            ingest.send("d9", Kind.ACK, codec.canonical(Ack(boot="b", alerts=("boot1-1",))))
            until(lambda: not outbox.unacked_alerts(1), what="a true acknowledgement")
            assert link.state().connected


def test_a_wrong_password_is_slow_and_heals(broker: RunningBroker, outbox: Outbox) -> None:
    admit(broker, "another password altogether")
    with linked(broker.address, outbox) as link:
        until(lambda: link.state().failures.get("refused", 0) >= 2, what="refused twice")
        assert "refuses this device" in link.state().last_error
        assert SECRET not in link.state().last_error
        admit(broker)
        until(lambda: link.state().connected, what="healed")


def test_a_line_that_is_half_open_is_noticed(builtin: RunningBroker, outbox: Outbox) -> None:
    admit(builtin)
    with _Proxy(builtin.address) as proxy, linked(proxy.address, outbox) as link:
        until(lambda: link.state().connected, what="connected")
        proxy.frozen.set()
        until(lambda: not link.state().connected, what="noticed")
        proxy.frozen.clear()
        until(lambda: link.state().connected, what="connected again")


def test_without_any_broker_the_outbox_goes_on(outbox: Outbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()[:2]
    with linked(address, outbox) as link:
        say_much(outbox, alerts=5, windows=5)
        until(lambda: link.state().failures.get("unreachable", 0) >= 3, what="tried")
        assert outbox.counters().alerts_held == 5
        assert not link.state().connected


class _Proxy:
    """Passes bytes on until it freezes: nothing moves, nothing is closed."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self.frozen = threading.Event()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5.0)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            far = socket.create_connection(self._target)
            for source, target in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=(source, target))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        source.settimeout(0.1)
        with source:
            while not self._stop.is_set():
                if self.frozen.is_set():
                    self._stop.wait(0.05)
                    continue
                try:
                    data = source.recv(65536)
                    if not data:
                        break
                    target.sendall(data)
                except TimeoutError:
                    continue
                except OSError:
                    break
