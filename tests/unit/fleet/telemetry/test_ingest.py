"""Batches: answered after the commit only, held while the disk is full, bounded while they wait."""

import asyncio
import logging

import pytest
from sqlalchemy import insert

from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from fleet.db.engine import Database
from fleet.db.schema import device
from fleet.telemetry.ingest import (
    HIGH_WATER,
    HIGH_WATER_BYTES,
    MAX_BATCH,
    MAX_WAITING,
    Ingest,
    IngestRules,
)
from fleet.telemetry.messages import Raw
from fleet.telemetry.store import Outcome
from tests.unit.fleet.database import SetClock, until

DEADLINE_S = 20.0


def event(number: int, text: str = "") -> Raw:
    document = AlertEvent(
        device="d1",
        boot="b1",
        event_id=f"b1-{number}",
        alert_id="a",
        state="raised",
        rule="hot",
        pipeline="p",
        t=1.0,
        wall=1.0,
        clock="bad",
        message=text,
    )
    return Raw("eo/1/default/d1/alert", codec.canonical(document))


class Harness:
    """An ingest with its answers kept; tokens are numbers."""

    def __init__(self, database: Database) -> None:
        self.answered: list[int] = []
        self.batches: list[int] = []
        self.acked: list[str] = []
        self.rooms = 0
        self.all = asyncio.Event()
        self.wanted = 0
        self.ingest: Ingest[int] = Ingest(
            database=database,
            rules=IngestRules(tenant="default"),
            clock=SetClock(),
            on_stored=self._stored,
            on_room=self._room,
        )
        database.write_here(
            lambda c: c.execute(
                insert(device).values(id="d1", labels={}, password_hash="", enrolled_s=0.0)
            )
        )

    async def run(self, wanted: int) -> None:
        """Run until so many messages are answered."""
        self.wanted = wanted
        task = asyncio.create_task(self.ingest.run())
        try:
            await asyncio.wait_for(self.all.wait(), DEADLINE_S)
        finally:
            task.cancel()

    def _stored(self, tokens: object, outcome: Outcome) -> None:
        assert isinstance(tokens, list)
        self.answered += tokens
        self.batches.append(len(tokens))
        for _, ack in outcome.acks:
            self.acked += ack.alerts
        if len(self.answered) >= self.wanted:
            self.all.set()

    def _room(self) -> None:
        self.rooms += 1


def test_a_burst_becomes_few_batches_in_order(database: Database) -> None:
    harness = Harness(database)
    for number in range(2500):
        assert harness.ingest.offer(event(number), number)

    asyncio.run(harness.run(2500))

    assert harness.answered == list(range(2500))
    assert max(harness.batches) <= MAX_BATCH
    assert len(harness.batches) <= 4
    assert len(set(harness.acked)) == 2500


def test_more_than_may_wait_is_dropped_and_counted(database: Database) -> None:
    harness = Harness(database)
    taken = sum(harness.ingest.offer(Raw("x", b""), number) for number in range(MAX_WAITING + 5))

    assert taken == MAX_WAITING
    assert harness.ingest.full
    assert harness.ingest.counts["dropped.backlog"] == 5


def test_the_source_is_told_when_there_is_room_again(database: Database) -> None:
    harness = Harness(database)
    for number in range(HIGH_WATER):
        harness.ingest.offer(Raw("x", b""), number)
    assert harness.ingest.full

    asyncio.run(harness.run(HIGH_WATER))

    assert harness.rooms == 1
    assert not harness.ingest.full


def test_a_full_disk_holds_everything_and_loses_nothing(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Harness(database)
    pages = database.write_here(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    database.write_here(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").all())
    for number in range(300):
        harness.ingest.offer(event(number, "x" * 500), number)

    async def make_room() -> None:
        await until(lambda: harness.ingest.counts["write_errors"] > 0)
        assert harness.answered == [], "nothing may be answered that is not on disk"
        await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000").all())

    async def both() -> None:
        await asyncio.wait_for(asyncio.gather(harness.run(300), make_room()), DEADLINE_S)

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(both())

    assert harness.answered == list(range(300))
    assert len(harness.acked) == 300


def test_large_messages_stop_the_reading_by_their_bytes(database: Database) -> None:
    """A broker may pass a mebibyte each on: their number alone would bound nothing."""
    large = Raw("eo/1/default/d1/alert", b"x" * (1 << 20))

    async def scene() -> None:
        harness = Harness(database)
        while not harness.ingest.full:
            assert harness.ingest.offer(large, 0)
        offered = harness.ingest.waiting
        assert offered <= HIGH_WATER_BYTES // len(large.payload) + 1
        await harness.run(offered)
        await until(lambda: harness.rooms > 0)
        assert not harness.ingest.full

    asyncio.run(scene())
