"""Our session with the broker, over the built-in broker in the same loop."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edgeops.backoff import Backoff
from edgeops.clock import SystemClock
from edgeops.errors import StorageError, TransportError
from fleet.broker.passwords import hash_password
from fleet.broker.server import Server
from fleet.mqtt import MqttAccount, MqttSession
from tests.unit.fleet.database import until

DEADLINE_S = 15.0


def session_with(address: tuple[str, int], on_up: Callable[[], Awaitable[None]]) -> MqttSession:
    return MqttSession(
        account=MqttAccount(
            host=address[0], port=address[1], username="server", password="x", client_id="server"
        ),
        filters=["eo/1/default/+/conn", "eo/1/default/+/alert"],
        on_message=lambda _topic, _payload, _delivery: None,
        on_up=on_up,
        on_taken=lambda _number: None,
        clock=SystemClock(),
        backoff=Backoff(base_s=0.01, cap_s=0.05),
    )


def run(server: Server, scene: Callable[[tuple[str, int]], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        address = await server.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await scene(address)
        finally:
            await server.stop()

    asyncio.run(all_of_it())


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_a_database_that_cannot_be_written_just_then_costs_a_retry(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text(f"server:{hash_password('x')}\n")
    tries: list[bool] = []

    async def on_up() -> None:
        tries.append(len(tries) < 2)
        if tries[-1]:
            raise StorageError("the database says: disk I/O error")

    async def scene(address: tuple[str, int]) -> None:
        session = session_with(address, on_up)
        task = asyncio.create_task(session.run())
        await until(lambda: session.connected or task.done())
        assert session.connected
        assert tries == [True, True, False]
        await ended(task)

    run(Server(passwd=passwd), scene)


def test_a_refused_subscription_is_no_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passwd, acl = tmp_path / "passwd", tmp_path / "acl"
    passwd.write_text(f"server:{hash_password('x')}\n")
    acl.write_text("user server\ntopic read eo/1/default/+/alert\n")

    async def on_up() -> None:
        pass

    async def scene(address: tuple[str, int]) -> None:
        session = session_with(address, on_up)
        task = asyncio.create_task(session.run())
        with pytest.raises(TransportError, match="eo/1/default/\\+/conn"):
            await session.wait_connected()
        assert not session.connected
        acl.write_text("user server\ntopic read eo/1/default/#\n")
        server.reload()
        await until(lambda: session.connected)
        await ended(task)

    server = Server(passwd=passwd, acl=acl)
    with caplog.at_level(logging.ERROR):
        run(server, scene)
    assert "eo/1/default/+/conn" in caplog.text
