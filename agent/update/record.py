"""The whole durable state of one slot, and what of it the server is told."""

from dataclasses import dataclass, field, replace

from agent.update.machine import COMMITTING, RESTING
from edgeops.contracts.scalars import Count, Digest
from edgeops.contracts.update import (
    Assignment,
    Preflight,
    ProbationProgress,
    Reason,
    SlotReport,
    UpdateState,
)

MAX_DETAIL = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A bundle that answers or could answer at once, with what must be known without its files."""

    digest: Digest
    variant: str
    title: str = ""
    serial: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRecord:
    """One slot as the journal has it; replaced as a whole.

    Attributes:
        assignment: What ``state`` speaks of; ``None`` before the first one.
        high_gen: Highest generation ever taken; lower ones are never obeyed again.
        running: What answers now, or is meant to from the next effect on.
        previous: What ran before that, committed; kept on disk.
        target: What is being installed.
        came_from: What ran when ``target`` was activated, and what a rollback goes back to.
        baseline: Labels that the bundle before said, for comparison.
        idle_boots: Boots in a row that found a probation without one inference.
    """

    slot: str
    state: UpdateState = UpdateState.IDLE
    assignment: Assignment | None = None
    high_gen: Count = 0
    running: Running | None = None
    previous: Running | None = None
    target: Running | None = None
    came_from: Running | None = None
    reason: Reason | None = None
    detail: str = ""
    preflight: Preflight | None = None
    probation: ProbationProgress | None = None
    baseline: dict[str, Count] = field(default_factory=dict)
    idle_boots: Count = 0

    def failed(self, reason: Reason, detail: str) -> "SlotRecord":
        """Return the record with why this generation failed."""
        return replace(self, reason=reason, detail=detail[:MAX_DETAIL])

    def in_use(self) -> set[str]:
        """Return the digests of bundles that must stay on disk."""
        kept = {r.digest for r in (self.running, self.previous, self.came_from) if r is not None}
        if self.assignment is not None and self.state not in RESTING:
            kept.add(self.assignment.bundle)
        return kept

    def report(self) -> SlotReport:
        """Return what the server is told."""
        given = self.assignment
        previous = self.came_from if self.state in COMMITTING else self.previous
        return SlotReport(
            slot=self.slot,
            gen=0 if given is None else given.gen,
            state=self.state,
            running=None if self.running is None else self.running.digest,
            previous=None if previous is None else previous.digest,
            target=None if given is None else given.bundle,
            version="" if self.running is None else self.running.title,
            serial=0 if self.running is None else self.running.serial,
            rollout=None if given is None else given.rollout,
            attempt=0 if given is None else given.attempt,
            reason=self.reason,
            detail=self.detail,
            preflight=self.preflight,
            probation=self.probation,
        )
