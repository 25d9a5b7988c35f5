"""Turns that repeat: rollouts are looked at, old rows are forgotten."""

import asyncio
import contextlib
import logging
from typing import Final

from sqlalchemy import Connection

from edgeops.clock import Clock
from edgeops.errors import EdgeOpsError, StorageError, TransitionError
from fleet.config import RetentionSection
from fleet.db.engine import Database
from fleet.devices.ringer import Ringer
from fleet.retention import ROWS, forget
from fleet.rollouts.engine import RolloutEngine

logger = logging.getLogger(__name__)

RETENTION_S: Final = 60.0
ROUNDS: Final = 40
"""Times 5000 rows a minute: 3000 frames a second come and go on one server."""
SOONEST_S: Final = 0.1
"""Reports come in bursts; one look after a burst is enough."""


class RolloutTicker:
    """Looks at every rollout on a timer, and soon after something was reported or ordered."""

    def __init__(
        self, *, database: Database, engine: RolloutEngine, ringer: Ringer, every_s: float
    ) -> None:
        self._database = database
        self._engine = engine
        self._ringer = ringer
        self._every_s = every_s
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Ask for a look soon."""
        self._wake.set()

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._every_s)
            self._wake.clear()
            await self._round()
            await asyncio.sleep(min(SOONEST_S, self._every_s))

    async def _round(self) -> None:
        try:
            for rollout_id in await self._database.read(self._engine.due):
                await self._tick_one(rollout_id)
        except StorageError as error:
            logger.error("the rollouts wait: %s", error)  # noqa: TRY400

    async def _tick_one(self, rollout_id: str) -> None:
        try:
            await self._database.write(
                lambda connection: self._engine.tick_one(connection, rollout_id)
            )
        except TransitionError as error:
            # An operator was faster; nothing was committed and the next look sees the change.
            logger.info("rollout %s: %s", rollout_id, error)
        except EdgeOpsError as error:
            # Such as a policy that another release wrote: the other rollouts go on.
            logger.error("rollout %s waits: %s", rollout_id, error)  # noqa: TRY400
        self._ringer.wake()


async def forget_in_turns(
    database: Database,
    rules: RetentionSection,
    clock: Clock,
    *,
    every_s: float = RETENTION_S,
    rounds: int = ROUNDS,
) -> None:
    """Delete what is older than the rules say, a bounded number of rows in each turn."""

    def work(connection: Connection) -> int:
        return forget(connection, rules, now_s=clock.wall())

    while True:
        await asyncio.sleep(every_s)
        gone = 0
        try:
            for _ in range(rounds):  # each in a transaction of its own: messages come between
                more = await database.write(work)
                gone += more
                if more < ROWS:
                    break
        except StorageError as error:
            logger.error("not all was forgotten: %s", error)  # noqa: TRY400
        if gone:
            logger.info("%d old rows forgotten", gone)
