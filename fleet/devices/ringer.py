"""Rings the doorbells that wait, and forgets each once the broker has it."""

import asyncio
import contextlib
import logging
from typing import Final, Protocol

from edgeops import codec
from edgeops.contracts.update import Bell
from edgeops.errors import StorageError
from edgeops.topics import Kind, Topic
from fleet.db.engine import Database
from fleet.devices import doorbells
from fleet.devices.doorbells import Ring

logger = logging.getLogger(__name__)

MAX_RUNG: Final = 500
LOOK_S: Final = 5.0
GATHER_S: Final = 0.02


class Publisher(Protocol):
    """The part of the MQTT session that rings."""

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int | None:
        """Send a message; return its number, or ``None`` where there is no session."""
        ...


class Ringer:
    """Publishes doorbells; one that is lost with the broker is rung again.

    Losing a bell altogether costs time only: devices also look on a timer.
    """

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant
        self._wake = asyncio.Event()
        self._rung: dict[int, Ring] = {}
        self._taken: list[Ring] = []

    def wake(self) -> None:
        """Say that a doorbell may wait."""
        self._wake.set()

    def reconnected(self) -> None:
        """Say that the session is new: what the old one had not confirmed is rung again."""
        self._rung.clear()
        self._wake.set()

    def taken(self, number: int) -> None:
        """Say that the broker has the message ``number``."""
        ring = self._rung.pop(number, None)
        if ring is not None:
            self._taken.append(ring)
            self._wake.set()

    async def run(self, publisher: Publisher) -> None:
        """Ring until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_S)
            self._wake.clear()
            await asyncio.sleep(GATHER_S)  # a rollout writes many bells in a row
            try:
                await self._round(publisher)
            except StorageError as error:  # the rows stay, so that the next look finds them
                logger.error("the doorbells wait: %s", error)  # noqa: TRY400

    async def _round(self, publisher: Publisher) -> None:
        if done := tuple(self._taken):
            await self._database.write(lambda connection: doorbells.taken(connection, done))
            del self._taken[: len(done)]
        room = MAX_RUNG - len(self._rung)
        if room <= 0:
            return
        under_way = set(self._rung.values())
        waiting = await self._database.read(
            lambda connection: doorbells.waiting(connection, room + len(under_way))
        )
        for ring in waiting:
            if ring in under_way:
                continue
            topic = Topic(tenant=self._tenant, device=ring.device, kind=Kind.BELL)
            number = publisher.publish(str(topic), codec.canonical(Bell(gen=ring.gen)), qos=1)
            if number is None:
                return  # no session now; the next one rings all
            self._rung[number] = ring
