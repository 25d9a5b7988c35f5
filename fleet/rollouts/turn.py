"""An engine's turn at one rollout: the transaction, and the rollout as it is by now.

Everything is read from the database and nothing is remembered between two turns, so that one can
be lost, repeated or taken by another server.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from fleet.rollouts import members, store, trail
from fleet.rollouts.machine import MemberState, RolloutEvent, StageEvent
from fleet.rollouts.ports import Assignments
from fleet.rollouts.progress import Finding, Standing
from fleet.rollouts.store import Rollout, Stage

ENGINE: Final = "engine"
ASSIGNMENTS_PER_TURN: Final = 200
"""Bounds one transaction: each is signed and written one by one."""
ROWS_PER_TURN: Final = 5000


@dataclass(slots=True)
class Turn:
    """One turn, inside a transaction that holds the rollout's lease.

    Attributes:
        now: The rollout as the last statement left it.
        now_s: Wall seconds, for the records only.
    """

    connection: Connection
    assignments: Assignments
    now: Rollout
    now_s: float

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages as they are now."""
        return store.stages(self.connection, self.now.id)

    def is_last(self, stage: Stage) -> bool:
        """Return whether ``stage`` is the rollout's last."""
        return stage.k == len(self.stages()) - 1

    def in_flight(self) -> int:
        """Return how many devices of all stages are on the way."""
        wanted = (MemberState.ASSIGNED, MemberState.UPDATING)
        return sum(stage.counts[state] for stage in self.stages() for state in wanted)

    def change(self, event: RolloutEvent, reason: str) -> None:
        """Move the rollout on; see ``store.change``."""
        self.now = store.change(self.connection, self.now, event, reason=reason, now_s=self.now_s)

    def change_stage(self, stage: Stage, event: StageEvent) -> None:
        """Move a stage on; see ``store.change_stage``."""
        store.change_stage(self.connection, self.now.id, stage, event, watched=self.now.watched)

    def move(self, member: Standing, finding: Finding, **values: str | float | None) -> None:
        """Move a member on; see ``members.move``."""
        members.move(
            self.connection,
            self.now,
            member,
            finding.event,
            now_s=self.now_s,
            reason=finding.reason,
            detail=finding.detail,
            **values,
        )

    def record(self, kind: str, *, stage: int | None = None, body: object = None) -> None:
        """Append to the evidence."""
        self.now = trail.write(
            self.connection,
            self.now,
            kind,
            actor=ENGINE,
            now_s=self.now_s,
            stage=stage,
            body=body,
        )


def has_passed(watched: float, start: float | None, length_s: float) -> bool:
    """Return whether ``length_s`` seconds were watched since ``start``; no start: no."""
    return start is not None and watched - start >= length_s
