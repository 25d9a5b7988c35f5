"""The built-in broker alone: hostile clients, other people's clients, bounds, its command line."""

import asyncio
import logging
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

import pytest

from fleet.broker.accounts import BrokerAccounts, write_accounts
from fleet.broker.child import BrokerKind
from fleet.broker.codec import (
    REFUSE_VERSION_5,
    Decoder,
    encode,
)
from fleet.broker.limits import Close, Drop, Limits
from fleet.broker.packets import (
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Will,
)
from fleet.broker.passwords import hash_password
from fleet.broker.server import Server
from tests.integration.test_broker.clients import DEADLINE_S, Client, RunningBroker, running

OWN = "eo/1/acme"
USERS = ("fleet", "d1", "d2")


class HandClock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def wall(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


class Wire:
    """A client of bare bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = Decoder(1 << 22)
        self._packets: list[Packet] = []

    @classmethod
    async def open(cls, address: tuple[str, int]) -> "Wire":
        return cls(*await asyncio.open_connection(*address))

    def send(self, *packets: Packet) -> None:
        self.writer.write(b"".join(encode(packet) for packet in packets))

    async def next(self) -> Packet | None:
        """Return the next packet, None when the broker closed the connection."""
        while not self._packets:
            try:
                data = await asyncio.wait_for(self.reader.read(65_536), DEADLINE_S)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._packets += self._decoder.feed(data)
        return self._packets.pop(0)

    async def connect(self, name: str, will: Will | None = None) -> None:
        self.send(login(name, will))
        answer = await self.next()
        assert isinstance(answer, Connack)
        assert answer.code is ConnectCode.ACCEPTED


def login(name: str, will: Will | None = None) -> Connect:
    return Connect(
        client_id=name,
        username=name,
        password=b"secret",
        keepalive_s=60,
        will=will,
    )


@pytest.fixture
def accounts(tmp_path: Path) -> BrokerAccounts:
    users = {name: hash_password("secret") for name in USERS}
    return write_accounts(tmp_path, users, "acme", "fleet")


class Bench:
    """A server in this process, on a clock that stands still."""

    def __init__(self, accounts: BrokerAccounts, limits: Limits) -> None:
        self.clock = HandClock()
        self.server = Server(
            passwd=accounts.passwd, acl=accounts.acl, limits=limits, clock=self.clock
        )
        self.tally = self.server.hub.tally
        self.address = ("", 0)
        self._wires: list[Wire] = []

    async def __aenter__(self) -> Self:
        self.address = await self.server.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for wire in self._wires:
            wire.writer.transport.abort()
        await self.server.stop()
        await asyncio.sleep(0)

    async def wire(self, name: str = "", will: Will | None = None) -> Wire:
        wire = await Wire.open(self.address)
        self._wires.append(wire)
        if name:
            await wire.connect(name, will)
        return wire


@pytest.fixture
def bench(accounts: BrokerAccounts) -> Bench:
    return Bench(accounts, Limits())


@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Close.MALFORMED),
        (b"\x16\x03\x01\x02\x00" + bytes(200), Close.MALFORMED),  # a TLS client
        (b"\xff" * 64, Close.MALFORMED),
        (encode(Pingreq()), Close.PROTOCOL),
        (encode(Publish(topic="x", payload=b"")), Close.PROTOCOL),
        (b"\x10\xff\xff\xff\x7f", Close.TOO_LARGE),
        (encode(login("d1")) * 2, Close.PROTOCOL),
        (encode(login("d1")) + encode(Connack(code=ConnectCode.ACCEPTED)), Close.PROTOCOL),
        (
            encode(login("d1")) + encode(Publish(topic="x", payload=b"", qos=2, packet_id=1)),
            Close.QOS2,
        ),
        (encode(login("d1")) + b"\x82\x02\x00\x01", Close.MALFORMED),
    ],
)
def test_hostile_bytes_end_their_own_connection_and_are_counted(
    bench: Bench, sent: bytes, cause: Close
) -> None:
    async def scenario() -> None:
        async with bench:
            bystander = await bench.wire("d2")
            hostile = await bench.wire()
            hostile.writer.write(sent)
            while await hostile.next() is not None:
                pass
            bystander.send(Pingreq())
            assert await bystander.next() == Pingresp()
            assert bench.tally.closed == {cause: 1}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        (b"\x00\x04MQTT\x05", REFUSE_VERSION_5),
        (b"\x00\x06MQIsdp\x03", bytes([0x20, 2, 0, 1])),
    ],
)
def test_other_versions_are_refused_in_their_own_words(
    bench: Bench, version: bytes, answer: bytes
) -> None:
    async def scenario() -> None:
        async with bench:
            wire = await bench.wire()
            body = version + b"\x02\x00\x3c\x00\x00\x02d1"
            wire.writer.write(bytes([0x10, len(body)]) + body)
            assert await wire.reader.read() == answer

    asyncio.run(scenario())


def test_silence_is_ended_before_and_after_the_connect(bench: Bench) -> None:
    async def scenario() -> None:
        async with bench:
            watcher = await bench.wire("fleet")
            watcher.send(Subscribe(1, ((f"{OWN}/d1/conn", 1),)))
            assert await watcher.next() == Suback(1, (1,))
            unknown = await bench.wire()
            device = await bench.wire("d1", will=Will(topic=f"{OWN}/d1/conn", payload=b"lost"))

            bench.clock.now_s += 10.5
            bench.server.sweep(bench.clock.now_s)
            assert await unknown.next() is None
            watcher.send(Pingreq())
            assert await watcher.next() == Pingresp()
            bench.clock.now_s += 79.0  # the device's 1.5 x 60 s are not over yet
            bench.server.sweep(bench.clock.now_s)
            assert bench.tally.closed == {Close.CONNECT_TIMEOUT: 1}
            bench.clock.now_s += 1.0
            bench.server.sweep(bench.clock.now_s)

            assert await device.next() is None
            assert bench.tally.closed[Close.KEEPALIVE] == 1
            will = await watcher.next()
            assert isinstance(will, Publish)
            assert will.payload == b"lost"

    asyncio.run(scenario())


def test_a_client_may_not_take_the_name_of_another_user(bench: Bench) -> None:
    async def scenario() -> None:
        async with bench:
            await bench.wire("d2")
            thief = await bench.wire()
            thief.send(Connect(client_id="d2", username="d1", password=b"secret"))
            assert await thief.next() == Connack(code=ConnectCode.IDENTIFIER_REJECTED)
            anonymous = await bench.wire()
            anonymous.send(Connect(client_id="x"))
            assert await anonymous.next() == Connack(code=ConnectCode.NOT_AUTHORIZED)
            assert bench.tally.closed == {Close.REFUSED: 2}

    asyncio.run(scenario())


def test_denied_publishes_are_acknowledged_and_counted(bench: Bench) -> None:
    async def scenario() -> None:
        async with bench:
            device = await bench.wire("d1")
            device.send(
                Publish(topic=f"{OWN}/d2/alert", payload=b"forged", qos=1, packet_id=7),
                Subscribe(8, ((f"{OWN}/d2/bell", 1), (f"{OWN}/d1/bell", 2), ("$share/g/x", 1))),
                Disconnect(),
            )
            assert await device.next() == Puback(7)
            assert await device.next() == Suback(8, (0x80, 1, 0x80))
            assert await device.next() is None
            assert bench.tally.dropped == {Drop.DENIED_WRITE: 1}
            assert bench.tally.closed == {Close.BY_CLIENT: 1}

    asyncio.run(scenario())


def test_connections_beyond_the_bound_are_ended_at_once(accounts: BrokerAccounts) -> None:
    async def scenario() -> None:
        async with Bench(accounts, Limits(max_connections=1)) as bench:
            first = await bench.wire("d1")
            assert await (await bench.wire()).next() is None
            first.send(Pingreq())
            assert await first.next() == Pingresp()
            assert bench.tally.closed == {Close.TOO_MANY: 1}

    asyncio.run(scenario())


def test_a_client_that_never_reads_costs_bounded_memory(accounts: BrokerAccounts) -> None:
    """Counted where the bytes are: in the session's queue and the transport's buffer."""
    limits = Limits(max_queued_bytes=2_000_000, congestion_bytes=100_000, max_inflight=10_000)

    async def scenario() -> None:
        async with Bench(accounts, limits) as bench:
            slow = await bench.wire("fleet")
            slow.send(Subscribe(1, ((f"{OWN}/+/telemetry/#", 0),)))
            assert await slow.next() == Suback(1, (0,))
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            device = await bench.wire("d1")
            for number in range(1, 301):
                message = bytes([number % 256]) * 50_000  # 15 MB in all
                topic = f"{OWN}/d1/telemetry/main"
                device.send(Publish(topic=topic, payload=message, qos=1, packet_id=number))
                assert await device.next() == Puback(number)

            session = bench.server.hub.router.session("fleet")
            assert session is not None
            assert session.queued_bytes <= limits.max_queued_bytes
            dropped = bench.tally.dropped[Drop.SLOW_CONSUMER]
            assert dropped > 0
            slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(300 - dropped):  # what was not dropped arrives after all
                assert isinstance(await slow.next(), Publish)
            assert session.queued_bytes == 0

    asyncio.run(scenario())


def test_a_flood_of_pings_without_reading_stops_being_read(accounts: BrokerAccounts) -> None:
    """Answers could grow without bound otherwise; the keepalive then ends the connection."""
    limits = Limits(congestion_bytes=20_000)
    flood_bytes = 4_000_000

    async def scenario() -> None:
        async with Bench(accounts, limits) as bench:
            listener = bench.server._listener
            assert listener is not None
            for listening in listener.sockets:  # inherited; the kernel would take megabytes
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
            flood = await bench.wire("d1")
            flood.writer.transport.pause_reading()  # type: ignore[attr-defined]
            flood.writer.write(encode(Pingreq()) * (flood_bytes // 2))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood.writer.drain(), 2.0)

            assert bench.tally.bytes_received < flood_bytes

    asyncio.run(scenario())


def test_a_damaged_file_changes_nothing_on_reload(
    bench: Bench, accounts: BrokerAccounts, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with bench:
            device = await bench.wire("d1")
            accounts.passwd.write_text("d1:garbage\n")

            with caplog.at_level(logging.ERROR):
                bench.server.reload()

            assert "passwd:1" in caplog.text
            device.send(Pingreq())
            assert await device.next() == Pingresp()
            await bench.wire("d2")

    asyncio.run(scenario())


MOSQUITTO_CLIENTS = pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None or shutil.which("mosquitto_sub") is None,
    reason="mosquitto_pub and mosquitto_sub are not installed",
)


@pytest.fixture
def builtin(tmp_path: Path) -> Iterator[RunningBroker]:
    with running(BrokerKind.BUILTIN, tmp_path) as started:
        yield started


@pytest.mark.mosquitto
@MOSQUITTO_CLIENTS
def test_mosquittos_own_clients_are_served(builtin: RunningBroker) -> None:
    host, port = builtin.address
    where = ["-h", host, "-p", str(port), "-q", "1", "-P", "secret"]
    topic = f"{OWN}/d1/telemetry/main"
    as_fleet = ["mosquitto_sub", *where, "-i", "s1", "-u", "fleet", "-c", "-t", f"{OWN}/#", "-v"]

    def run(*command: str) -> str:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=DEADLINE_S
        )
        return done.stdout

    run(*as_fleet, "-E")  # leaves a persistent session behind
    for text in ("one", "two"):
        run("mosquitto_pub", *where, "-i", "d1", "-u", "d1", "-t", topic, "-m", text)
    heard = run(*as_fleet, "-C", "2")

    assert heard == f"{topic} one\n{topic} two\n"


@pytest.mark.mosquitto
@MOSQUITTO_CLIENTS
def test_mosquittos_version_5_client_is_told_why(builtin: RunningBroker) -> None:
    host, port = builtin.address
    done = subprocess.run(
        [
            "mosquitto_pub", "-V", "5", "-h", host, "-p", str(port),
            "-u", "d1", "-P", "secret", "-t", f"{OWN}/d1/alert", "-m", "x",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )  # fmt: skip

    assert done.returncode != 0
    assert "protocol version" in done.stderr.lower()


@contextmanager
def program(*arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-m", "fleet.broker", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("way", ["signal", "stdin"])
def test_the_program_says_where_it_listens_and_ends_when_told(
    accounts: BrokerAccounts, way: str
) -> None:
    files: list[str | Path] = ["--passwd", accounts.passwd, "--acl", accounts.acl]
    with program("--listen", "127.0.0.1:0", "--die-with-parent", *files) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        word, host, port = process.stdout.readline().split()
        with closing(socket.create_connection((host, int(port)), DEADLINE_S)):
            if way == "signal":
                process.send_signal(signal.SIGTERM)
            else:
                process.stdin.close()
            assert process.wait(2.0) == 0

        assert word == "listening"
        assert "built-in broker: for one machine" in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--listen", "0.0.0.0:0", "--allow-anonymous"], 2, "no loopback address"),
        (["--listen", "127.0.0.1:0"], 2, "nobody could connect"),
        (["--listen", "nowhere", "--allow-anonymous"], 2, "expected HOST:PORT"),
        (["--listen", "127.0.0.1:0", "--passwd", "/absent"], 74, "cannot read /absent"),
        (["--listen", "127.0.0.1:0", "--allow-anonymous", "--max-packet", "1"], 2, "at least"),
    ],
)
def test_unsafe_or_wrong_words_end_in_a_sentence(
    arguments: list[str], status: int, sentence: str
) -> None:
    with program(*arguments) as process:
        _, words = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == status
    assert sentence in words
    assert "Traceback" not in words


def test_without_housekeeping_the_broker_ends_rather_than_keep_the_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_server: Server, _now_s: float) -> None:
        raise RuntimeError("a fault in the housekeeping")

    monkeypatch.setattr(Server, "sweep", broken)

    async def serve() -> None:
        server = Server(allow_anonymous=True)
        await server.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await server.wait(asyncio.Event())
        finally:
            await server.stop()

    with pytest.raises(RuntimeError, match="a fault in the housekeeping"):
        asyncio.run(serve())


def test_a_taken_port_is_named(accounts: BrokerAccounts) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with program("--listen", f"127.0.0.1:{port}", "--passwd", accounts.passwd) as process:
            _, words = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 75
    assert f"cannot listen on 127.0.0.1:{port}" in words


def test_many_devices_keep_their_order_and_lose_nothing(builtin: RunningBroker) -> None:
    names = [f"m{number}" for number in range(20)]
    builtin.add_users(*names)
    builtin.reload()
    with Client(builtin, "service", username="fleet") as fleet:
        fleet.subscribe(f"{OWN}/+/telemetry/#")
        clients = [connect_when_known(builtin, name) for name in names]
        for number in range(50):
            for name, client in zip(names, clients, strict=True):
                client.paho.publish(f"{OWN}/{name}/telemetry/main", b"%d" % number, qos=1)
        heard: dict[str, list[int]] = {name: [] for name in names}
        for _ in range(50 * len(names)):
            topic, payload = fleet.next()
            heard[topic.split("/")[3]].append(int(payload))
        for client in clients:
            client.leave()

    assert heard == {name: list(range(50)) for name in names}


def connect_when_known(broker: RunningBroker, name: str) -> Client:
    """Return a connected client of a user added a moment ago."""
    for _ in range(100):
        client = Client(broker, name)
        if not client.code.is_failure:
            return client
        client.leave()
    pytest.fail(f"{name} was never admitted")
