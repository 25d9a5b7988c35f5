"""Ticks every rollout that has work; several servers may do so at once.

Each tick takes the rollout's lease: the row is locked until the transaction ends, and another
server leaves the rollout alone until the lease runs out.
"""

import logging
from typing import Final

from sqlalchemy import Connection

from edgeops.clock import Clock
from fleet.rollouts import store
from fleet.rollouts.admitting import let_newcomers_join
from fleet.rollouts.handback import take_back
from fleet.rollouts.hearing import hear
from fleet.rollouts.judging import WATCHED_STATES, advance, watch_finished_stages
from fleet.rollouts.machine import RolloutState
from fleet.rollouts.ports import Assignments
from fleet.rollouts.turn import Turn

logger = logging.getLogger(__name__)

LEASE_S: Final = 10.0
"""After a crash, another process takes over so much later."""
WATCHED_STEP_MOST_S: Final = 60.0
"""Longest time between two ticks that counts as watched: tick more often than this."""


class RolloutEngine:
    """Brings rollouts on, one short transaction each.

    Args:
        assignments: Tells devices what to run.
        clock: Wall time; only differences between ticks count, at most a minute each.
        owner: Name of this server process, different from every other's.
    """

    def __init__(self, *, assignments: Assignments, clock: Clock, owner: str) -> None:
        self._assignments = assignments
        self._clock = clock
        self._owner = owner

    def due(self, connection: Connection) -> tuple[str, ...]:
        """Return the rollouts in which there is work; reading is enough."""
        return store.ticked(connection)

    def tick(self, connection: Connection) -> int:
        """Tick every rollout in one transaction; return how many were ours to tick."""
        return sum(self.tick_one(connection, rollout_id) for rollout_id in self.due(connection))

    def tick_one(self, connection: Connection, rollout_id: str) -> bool:
        """Tick one rollout inside a write transaction; return whether it was ours to tick.

        Raises:
            TransitionError: Another connection changed it in between; nothing must be committed.
        """
        now_s = self._clock.wall()
        fence = store.lease(
            connection,
            rollout_id,
            owner=self._owner,
            now_s=now_s,
            for_s=LEASE_S,
            most_s=WATCHED_STEP_MOST_S,
        )
        if fence is None:
            return False
        turn = Turn(connection, self._assignments, store.load(connection, rollout_id), now_s)
        before = turn.now.state
        _take(turn)
        if turn.now.state is not before:
            logger.info("rollout %s is %s: %s", rollout_id, turn.now.state.value, turn.now.reason)
        return True


def _take(turn: Turn) -> None:
    hear(turn)
    if turn.now.state in {RolloutState.ABORTING_KEEP, RolloutState.ABORTING_REVERT}:
        take_back(turn)
        return
    if turn.now.state is RolloutState.RUNNING:
        let_newcomers_join(turn)
    watch_finished_stages(turn)
    while turn.now.state in WATCHED_STATES and advance(turn):
        pass
