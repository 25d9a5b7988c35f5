"""A broker as a child: reload, death and restart, and no orphan whoever dies first."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeops.errors import TransportError, UsageError
from fleet.broker.child import BrokerChild, BrokerKind, free_port
from fleet.broker.mosquitto import find_mosquitto
from tests.integration.test_broker.clients import (
    DEADLINE_S,
    Client,
    RunningBroker,
    running,
    until,
)

OWN = "eo/1/acme"


@pytest.fixture
def own_broker(kind: BrokerKind, tmp_path: Path) -> Iterator[RunningBroker]:
    """A broker that the test may break."""
    with running(kind, tmp_path) as started:
        yield started


def may_connect(broker: RunningBroker, name: str, password: str) -> bool:
    client = Client(broker, name, password=password)
    client.leave()
    return not client.code.is_failure


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found]


def test_reload_admits_the_new_and_puts_out_the_revoked(own_broker: RunningBroker) -> None:
    stays, revoked, changed = (Client(own_broker, name) for name in ("d1", "d2", "d3"))
    assert not may_connect(own_broker, "d4", "secret")

    own_broker.remove_user("d2")
    own_broker.add_users("d4")
    own_broker.add_users("d3", password="new")
    own_broker.reload()

    until(lambda: may_connect(own_broker, "d4", "secret"), what="the new device may connect")
    assert revoked.gone.wait(DEADLINE_S)
    assert changed.gone.wait(DEADLINE_S)
    assert not may_connect(own_broker, "d2", "secret")
    assert not may_connect(own_broker, "d3", "secret")
    assert may_connect(own_broker, "d3", "new")
    stays.publish(f"{OWN}/d1/alert", b"still here")
    for client in (stays, revoked, changed):
        client.leave()


def test_a_killed_broker_comes_back_on_its_port(own_broker: RunningBroker) -> None:
    supervision = asyncio.run_coroutine_threadsafe(own_broker.child.supervise(), own_broker.loop)
    killed = own_broker.child.pid
    assert killed is not None
    device = Client(own_broker, "d1")

    os.kill(killed, signal.SIGKILL)

    assert device.gone.wait(DEADLINE_S)
    device.leave()
    until(lambda: own_broker.child.restarts == 1, what="the broker was started again")
    assert own_broker.child.pid not in {None, killed}
    assert may_connect(own_broker, "d1", "secret")
    own_broker.do(own_broker.child.stop())
    supervision.result(DEADLINE_S)


def test_a_start_that_the_system_refuses_is_tried_again(
    own_broker: RunningBroker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervision = asyncio.run_coroutine_threadsafe(own_broker.child.supervise(), own_broker.loop)
    killed = own_broker.child.pid
    assert killed is not None
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/program")
        os.kill(killed, signal.SIGKILL)
        until(lambda: "cannot be started" in caplog.text or supervision.done(), what="the refusal")

    until(lambda: own_broker.child.restarts == 1 or supervision.done(), what="the next start")
    assert may_connect(own_broker, "d1", "secret")
    own_broker.do(own_broker.child.stop())
    supervision.result(DEADLINE_S)


def test_a_reload_during_a_restart_is_not_lost(own_broker: RunningBroker) -> None:
    supervision = asyncio.run_coroutine_threadsafe(own_broker.child.supervise(), own_broker.loop)
    killed = own_broker.child.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    until(lambda: own_broker.child.pid not in {None, killed}, what="a new one was launched")

    own_broker.remove_user("d2")
    own_broker.reload()  # at the worst time: it runs and may have read the old files

    until(lambda: own_broker.child.restarts == 1, what="the broker was started again")
    until(lambda: not may_connect(own_broker, "d2", "secret"), what="the files are in force")
    assert may_connect(own_broker, "d1", "secret")
    assert own_broker.child.restarts == 1
    own_broker.do(own_broker.child.stop())
    supervision.result(DEADLINE_S)


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_an_order_to_end_works_right_after_the_start(
    own_broker: RunningBroker, order: signal.Signals
) -> None:
    pid = own_broker.child.pid
    assert pid is not None
    os.kill(pid, order)

    until(lambda: own_broker.child.pid is None, what="the broker ended in time")


def test_stop_leaves_no_process_behind(own_broker: RunningBroker) -> None:
    pid = own_broker.child.pid
    assert pid is not None
    family = [pid, *children_of(pid)]
    assert len(family) == (2 if own_broker.kind is BrokerKind.MOSQUITTO else 1)

    own_broker.do(own_broker.child.stop())

    assert own_broker.child.pid is None
    until(lambda: not any(map(is_alive, family)), what="broker and guard are gone")


PARENT = """
import asyncio, sys
from pathlib import Path
from fleet.broker.child import BrokerChild, BrokerKind
from fleet.broker.accounts import write_accounts
from fleet.broker.passwords import hash_password

async def main():
    folder = Path(sys.argv[2])
    accounts = write_accounts(folder, {"fleet": hash_password("x")}, "acme", "fleet")
    child = BrokerChild(BrokerKind(sys.argv[1]), folder, accounts)
    await child.start()
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_broker_does_not_outlive_a_parent_that_was_killed(
    kind: BrokerKind, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, kind, tmp_path], stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            family = [pid, *children_of(pid)]
            assert all(map(is_alive, family))
        finally:
            parent.kill()

    until(lambda: not any(map(is_alive, family)), what="the broker ended with its parent")


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed")
def test_mosquitto_does_not_outlive_a_guard_that_was_killed(tmp_path: Path) -> None:
    with running(BrokerKind.MOSQUITTO, tmp_path) as broker:
        guard = broker.child.pid
        assert guard is not None
        [mosquitto] = children_of(guard)

        os.kill(guard, signal.SIGKILL)

        until(lambda: not is_alive(mosquitto), what="the kernel ended Mosquitto")


def test_the_guard_gives_back_the_exit_status(tmp_path: Path) -> None:
    guard = [sys.executable, "-m", "fleet.broker.guard", "--"]

    def status(*command: str) -> int:
        with subprocess.Popen([*guard, *command], stdin=subprocess.PIPE) as process:
            return process.wait(DEADLINE_S)

    with subprocess.Popen([*guard, "/bin/sleep", "60"], stdin=subprocess.PIPE) as waiting:
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(DEADLINE_S) in {128 + signal.SIGTERM, -signal.SIGTERM}
    assert status("/bin/sh", "-c", "exit 7") == 7
    assert status(str(tmp_path / "absent")) == 127


def test_a_broker_that_cannot_start_says_so(kind: BrokerKind, own_broker: RunningBroker) -> None:
    taken = own_broker.address[1]

    async def start_second() -> None:
        second = BrokerChild(kind, own_broker.folder / "2", own_broker.accounts, port=taken)
        await second.start()

    with pytest.raises(TransportError, match=r"ended at once|does not accept"):
        own_broker.do(start_second())


def test_an_external_broker_is_only_awaited(own_broker: RunningBroker) -> None:
    host, port = own_broker.address

    async def meet() -> tuple[str, int]:
        external = BrokerChild(
            BrokerKind.EXTERNAL, own_broker.folder, own_broker.accounts, host, port
        )
        supervision = asyncio.create_task(external.supervise())
        address = await external.start()
        external.reload()
        assert external.pid is None
        await external.stop()
        await asyncio.wait_for(supervision, DEADLINE_S)
        return address

    assert own_broker.do(meet()) == (host, port)
    assert own_broker.child.pid is not None


def test_only_loopback_is_served_unasked(tmp_path: Path, own_broker: RunningBroker) -> None:
    with pytest.raises(UsageError, match="loopback"):
        BrokerChild(BrokerKind.BUILTIN, tmp_path, own_broker.accounts, "0.0.0.0", 1883)  # noqa: S104


def test_free_ports_can_be_bound() -> None:
    port = free_port("127.0.0.1")

    assert 1024 <= port <= 65_535
    with contextlib.suppress(OSError):  # a machine without IPv6
        assert free_port("::1") > 0
