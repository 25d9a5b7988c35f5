"""Gathers messages into batches, has each batch committed, and only then lets it be answered."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection

from edgeops import failpoint
from edgeops.backoff import Backoff
from edgeops.clock import Clock
from edgeops.errors import StorageError
from fleet.db.engine import Database
from fleet.telemetry.messages import Raw, read
from fleet.telemetry.store import Outcome, store

logger = logging.getLogger(__name__)

Token = TypeVar("Token")

MAX_BATCH: Final = 1000
GATHER_S: Final = 0.02
MAX_WAITING: Final = 10_000
HIGH_WATER: Final = 5_000
HIGH_WATER_BYTES: Final = 64 << 20
"""A broker may pass on messages far larger than any that we take."""
RETRY_CAP_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestRules:
    """What is kept, and whose messages are taken."""

    tenant: str
    keep_reports: int = 50
    keep_dead: int = 10_000


class Ingest(Generic[Token]):
    """Messages in, committed batches out.

    A batch that cannot be written is tried again until it can: nothing is answered, the broker
    and the devices hold what follows.

    Args:
        on_stored: Called in the event loop after each commit with the tokens of the batch (what
            ``offer`` was given) and what it came to.
        on_room: Called when ``full`` turns false again.
    """

    def __init__(
        self,
        *,
        database: Database,
        rules: IngestRules,
        clock: Clock,
        on_stored: Callable[[Sequence[Token], Outcome], None],
        on_room: Callable[[], None],
    ) -> None:
        self._database = database
        self._rules = rules
        self._clock = clock
        self._on_stored = on_stored
        self._on_room = on_room
        self._waiting: list[tuple[Raw, Token]] = []
        self._waiting_bytes = 0
        self._some = asyncio.Event()
        self._batch_full = asyncio.Event()
        self.counts: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Return whether the source should stop reading for now."""
        return len(self._waiting) >= HIGH_WATER or self._waiting_bytes >= HIGH_WATER_BYTES

    @property
    def waiting(self) -> int:
        """Return how many messages wait for their batch."""
        return len(self._waiting)

    def offer(self, raw: Raw, token: Token) -> bool:
        """Take a message in; ``False`` (and counted) where no more may wait."""
        if len(self._waiting) >= MAX_WAITING:
            self.counts["dropped.backlog"] += 1
            return False
        self._waiting.append((raw, token))
        self._waiting_bytes += len(raw.payload)
        self._some.set()
        if len(self._waiting) >= MAX_BATCH:
            self._batch_full.set()
        return True

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            await self._some.wait()
            if len(self._waiting) < MAX_BATCH:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._batch_full.wait(), GATHER_S)
            await self._write_one()

    async def _write_one(self) -> None:
        was_full = self.full
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        self._waiting_bytes -= sum(len(raw.payload) for raw, _ in batch)
        if not self._waiting:
            self._some.clear()
        if len(self._waiting) < MAX_BATCH:
            self._batch_full.clear()
        outcome = await self._stored([raw for raw, _ in batch])
        failpoint.hit("ingest.after_commit")
        self.counts.update(outcome.counts)
        self.counts["batches"] += 1
        self.counts["messages"] += len(batch)
        self._on_stored([token for _, token in batch], outcome)
        if was_full and not self.full:
            self._on_room()

    async def _stored(self, batch: Sequence[Raw]) -> Outcome:
        backoff = Backoff(base_s=0.2, cap_s=RETRY_CAP_S)

        def work(connection: Connection) -> Outcome:
            outcome = store(
                connection,
                [read(raw, tenant=self._rules.tenant) for raw in batch],
                now_s=self._clock.wall(),
                keep_reports=self._rules.keep_reports,
                keep_dead=self._rules.keep_dead,
            )
            failpoint.hit("ingest.before_commit")
            return outcome

        while True:
            try:
                return await self._database.write(work)
            except StorageError as error:
                self.counts["write_errors"] += 1
                logger.error("a batch of %d messages waits: %s", len(batch), error)  # noqa: TRY400
                await asyncio.sleep(backoff.next_s())
