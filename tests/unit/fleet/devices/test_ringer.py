"""Doorbells: rung once each while all is well, again after the broker went away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert

from fleet.db.engine import Database
from fleet.db.schema import device, doorbell
from fleet.devices import doorbells
from fleet.devices.ringer import Ringer
from tests.unit.fleet.database import until

DEADLINE_S = 10.0


class Wire:
    """A session that notes what is published, or is down."""

    def __init__(self) -> None:
        self.up = True
        self.sent: list[str] = []

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int | None:
        assert (qos, retain) == (1, False)
        assert payload == b'{"gen":1,"v":1}'
        if not self.up:
            return None
        self.sent.append(topic)
        return len(self.sent)


def add_bells(database: Database, *names: str) -> None:
    for number, name in enumerate(names):
        database.write_here(
            lambda c, n=name: c.execute(  # type: ignore[misc]
                insert(device).values(id=n, labels={}, password_hash="", enrolled_s=0.0)
            )
        )
        database.write_here(
            lambda c, n=name, k=number: c.execute(  # type: ignore[misc]
                insert(doorbell).values(device=n, gen=1, rung_s=float(k))
            )
        )


def run(ringer: Ringer, wire: Wire, scene: Callable[[], Awaitable[None]]) -> None:
    async def both() -> None:
        task = asyncio.create_task(ringer.run(wire))
        try:
            await asyncio.wait_for(scene(), DEADLINE_S)
        finally:
            task.cancel()

    asyncio.run(both())


def test_a_bell_goes_once_and_its_row_when_the_broker_has_it(database: Database) -> None:
    add_bells(database, "d1", "d2")
    ringer, wire = Ringer(database, "default"), Wire()

    async def scene() -> None:
        ringer.wake()
        await until(lambda: len(wire.sent) == 2)
        for _ in range(3):
            ringer.wake()
            await asyncio.sleep(0.05)
        ringer.taken(1)
        ringer.taken(99)  # an acknowledgement of something else
        await until(lambda: len(doorbells_of(database)) == 1)

    run(ringer, wire, scene)

    assert wire.sent == ["eo/1/default/d1/bell", "eo/1/default/d2/bell"]
    assert doorbells_of(database) == ["d2"]


def test_what_a_broken_session_did_not_confirm_is_rung_again(database: Database) -> None:
    add_bells(database, "d1")
    ringer, wire = Ringer(database, "default"), Wire()

    async def scene() -> None:
        wire.up = False
        ringer.wake()
        await asyncio.sleep(0.1)
        assert wire.sent == []
        wire.up = True
        ringer.reconnected()
        await until(lambda: len(wire.sent) == 1)
        ringer.reconnected()  # the broker died before it confirmed
        await until(lambda: len(wire.sent) == 2)
        ringer.taken(2)
        await until(lambda: doorbells_of(database) == [])

    run(ringer, wire, scene)


def test_a_database_that_fails_for_a_while_ends_no_ringing(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    add_bells(database, "d1")
    ringer, wire = Ringer(database, "default"), Wire()

    def rename(old: str, new: str) -> None:
        database.write_here(lambda c: c.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}"))

    async def scene() -> None:
        rename("doorbell", "away")
        ringer.wake()
        await until(lambda: "no such table" in caplog.text)
        rename("away", "doorbell")
        ringer.wake()
        await until(lambda: len(wire.sent) == 1)
        rename("doorbell", "away")
        caplog.clear()
        ringer.taken(1)
        await until(lambda: "no such table" in caplog.text)
        rename("away", "doorbell")
        ringer.wake()
        await until(lambda: doorbells_of(database) == [])

    with caplog.at_level(logging.ERROR):
        run(ringer, wire, scene)


def doorbells_of(database: Database) -> list[str]:
    return [ring.device for ring in database.write_here(lambda c: doorbells.waiting(c, 10))]
