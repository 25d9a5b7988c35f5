"""Drives one slot through the table: state to disk first, then the effect, then its outcome."""

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from agent.update.journal import Journal
from agent.update.machine import (
    BEFORE_ACTIVATION,
    RESTING,
    RESUME,
    Effect,
    Event,
    step,
)
from agent.update.ports import PipelineHost, StoppingError
from agent.update.probation import judge
from agent.update.record import Running, SlotRecord
from agent.update.rules import UpdateRules
from agent.update.steps import Outcome, Steps
from edgeops.backoff import Backoff
from edgeops.clock import Clock, trust_of
from edgeops.contracts.update import (
    Assignment,
    ProbationProgress,
    Reason,
    UpdateState,
)
from edgeops.errors import ContractError, StorageError
from edgeops.failpoint import hit

logger = logging.getLogger(__name__)

STOP_SOON_S: Final = 1.0
"""How soon a host that is ending is asked again; by then the slot is stopped as well."""

BOOTS_FACTOR: Final = 4
"""Boots within one probation, times ``max_boots``, after which progress does not count either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Waiting times in seconds.

    Attributes:
        poll_s: Between two looks at a bundle on probation, or at the clock.
        save_s: Between two notes of a probation's progress.
        retry_base_s: Shortest wait after something passing; the longest is ``retry_cap_s``.
    """

    poll_s: float = 0.5
    save_s: float = 15.0
    retry_base_s: float = 1.0
    retry_cap_s: float = 300.0


class Slot:
    """One slot's updater. ``recover`` once, then ``drive`` whenever there may be work.

    Args:
        name: Of the slot.
        steps: Effects on disk, host and server.
        host: Asked for the figures of probation.
        journal: Durable records.
        rules: Limits of this device.
        clock: Wall time for not-before and deadline.
        in_use: Digests that any slot needs, for tidying.
        tidying: Held while files are removed, and while an assignment is noted.
        on_change: Called after each change that the server should hear of.
        pace: Waiting times.
    """

    def __init__(
        self,
        name: str,
        *,
        steps: Steps,
        host: PipelineHost,
        journal: Journal,
        rules: UpdateRules,
        clock: Clock,
        in_use: Callable[[], set[str]],
        tidying: threading.Lock,
        on_change: Callable[[], None],
        pace: Pace | None = None,
    ) -> None:
        self._steps = steps
        self._host = host
        self._journal = journal
        self._rules = rules
        self._clock = clock
        self._in_use = in_use
        self._tidying = tidying
        self._on_change = on_change
        self._pace = pace or Pace()
        self._retry = Backoff(base_s=self._pace.retry_base_s, cap_s=self._pace.retry_cap_s)
        self._news = threading.Condition()
        self._offer: Assignment | None = None
        self._woken = False
        self._stopping = threading.Event()
        self._effects: tuple[Effect, ...] = ()
        self._found: Outcome | None = None
        self._do: dict[Effect, Callable[[SlotRecord], Outcome | None]] = {
            Effect.AWAIT_START: self._await_start,
            Effect.READ_META: steps.read_meta,
            Effect.DOWNLOAD: steps.download,
            Effect.STAGE: steps.stage,
            Effect.EXAMINE: steps.exam,
            Effect.SWITCH: steps.switch,
            Effect.WATCH: self._watch,
            Effect.RESTORE: steps.restore,
            Effect.RUN_FACTORY: steps.run_factory,
            Effect.TIDY: self._tidy,
        }
        self.record = SlotRecord(slot=name)

    def stop(self) -> None:
        """Let ``drive`` return soon; from any thread."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """End a wait for the network early; from any thread."""
        with self._news:
            self._woken = True
            self._news.notify_all()

    def offer(self, assignment: Assignment) -> bool:
        """Hand over an assignment that the director signed; return whether it is news.

        From any thread. Of several that wait, the highest generation stands.
        """
        with self._news:
            known = max(self.record.high_gen, 0 if self._offer is None else self._offer.gen)
            if assignment.gen <= known:
                return False
            self._offer = assignment
            self._news.notify_all()
            return True

    def is_running(self) -> bool:
        """Return whether nobody stopped the slot yet."""
        return not self._stopping.is_set()

    def has_work(self) -> bool:
        """Return whether ``drive`` has something to do."""
        return bool(self._effects) or self._offer is not None or self._found is not None

    def wait_for_work(self) -> None:
        """Wait until there is something to do or the slot is stopped."""
        with self._news:
            while not self._stopping.is_set() and not self.has_work():
                self._news.wait()

    def recover(self) -> None:
        """After a start: let the pipelines run what they ran, and take up what was cut short.

        Never waits for the disk; what was found wrong is dealt with by ``drive``.
        """
        try:
            record = self._journal.load(self.record.slot) or self._from_links()
        except StorageError as error:
            logger.error("slot %s: %s", self.record.slot, error)  # noqa: TRY400  # not our bug
            record = self._from_links()
        self.record = record
        state = record.state
        self._effects = RESUME.get(state, ())
        if state in {UpdateState.ACTIVATING, UpdateState.PROBATION}:
            self._count_boot()
        if state in {UpdateState.ACTIVATING, UpdateState.ROLLING_BACK, UpdateState.FALLBACK}:
            return  # the effect itself says what runs
        try:
            trouble = self._steps.revive(record.running, record.slot)
        except StoppingError:
            return  # the next start finds everything as it was
        if not trouble:
            return
        logger.error("slot %s: %s", record.slot, trouble)
        if self.record.state is UpdateState.PROBATION:
            self._found = Outcome(Event.FAILED, self.record, Reason.LOAD, trouble)
        elif record.running is not None:
            before = record.previous or self._steps.factory(record.slot)
            if state in RESTING:
                back = replace(record, came_from=before, previous=None)
                self._found = Outcome(Event.LOST, back, Reason.DIGEST, trouble)
            else:
                self._run_instead(before)

    def drive(self) -> None:
        """Carry out what is to be done, until the slot rests or is stopped."""
        while not self._stopping.is_set():
            if self._found is not None:
                found, self._found = self._found, None
                self._advance(found)
            self._take_offer()
            if not self._effects:
                return
            outcome = self._perform(self._effects[0])
            # What ended after the stop is done again after the next start: steps can be repeated.
            if outcome is not None and not self._stopping.is_set():
                self._advance(outcome)

    def _take_offer(self) -> None:
        with self._news:
            offered = self._offer
            if offered is None or self.record.state not in RESTING | BEFORE_ACTIVATION:
                return
            self._offer = None
        state, effects = step(self.record.state, Event.ASSIGNED)
        record = SlotRecord(
            slot=self.record.slot,
            state=state,
            assignment=offered,
            high_gen=offered.gen,
            running=self.record.running,
            previous=self.record.previous,
        )
        self._retry.lived(self._retry.stable_s)
        with self._tidying:
            self._save(record)
        self._effects = effects
        logger.info("slot %s: generation %s: %s", record.slot, offered.gen, offered.bundle[:19])
        self._on_change()

    def _perform(self, effect: Effect) -> Outcome | None:
        """Carry out one effect; ``None`` where a new assignment or the stop came between."""
        hit(f"update.before_{effect.value}")
        record = self.record
        if record.state in BEFORE_ACTIVATION and (late := self._overdue(record)):
            return Outcome(Event.FAILED, record, Reason.DEADLINE, late)
        try:
            return self._do[effect](record)
        except StoppingError:
            self._stopping.wait(STOP_SOON_S)
            return None
        except ContractError as error:
            # A journal that another release wrote, or a bug: this generation ends here.
            return Outcome(Event.FAILED, record, Reason.MALFORMED, str(error))

    def _advance(self, outcome: Outcome) -> None:
        record = outcome.record
        if outcome.event is Event.BROKE:
            self._broke(outcome)
            return
        state, effects = step(self.record.state, outcome.event)
        if outcome.reason is not None and outcome.event in {Event.FAILED, Event.LOST}:
            # A failed rollback keeps the reason of the failure that led to it.
            if record.reason is None or self.record.state is not UpdateState.ROLLING_BACK:
                record = record.failed(outcome.reason, outcome.detail)
            else:
                record = record.failed(record.reason, f"{record.detail}; then {outcome.detail}")
        elif outcome.event is Event.DONE and self.record.state in BEFORE_ACTIVATION:
            record = replace(record, reason=None, detail="")
        if state is UpdateState.COMMITTED and self.record.state is UpdateState.PROBATION:
            record = replace(record, previous=record.came_from, came_from=None, target=None)
        record = replace(record, state=state)
        if record == self.record:
            self._effects = effects
            return
        changed = (record.state, record.running) != (self.record.state, self.record.running)
        heal = state is UpdateState.ROLLING_BACK
        self._save(record, first_aid=(lambda: self._steps.restore(record)) if heal else None)
        self._effects = effects
        if changed:
            detail = f": {record.detail}" if record.detail else ""
            logger.info("slot %s: %s%s", record.slot, state, detail)
            self._on_change()

    def _broke(self, outcome: Outcome) -> None:
        """Wait and try the same again; people see why."""
        if (outcome.reason, outcome.detail) != (self.record.reason, self.record.detail):
            self.record = replace(outcome.record, reason=outcome.reason, detail=outcome.detail)
            logger.warning("slot %s: %s", self.record.slot, outcome.detail)
            self._on_change()
        self._wait(self._retry.next_s())

    def _save(self, record: SlotRecord, first_aid: Callable[[], object] | None = None) -> None:
        """Write the state before its effect; wait for the disk where it refuses.

        ``first_aid`` goes first where the disk refuses: the way back to a bundle that is known
        to work is the one effect that may come before its state.
        """
        retry = Backoff(base_s=self._pace.retry_base_s, cap_s=self._pace.retry_cap_s)
        while True:
            try:
                self._journal.save(record)
            except StorageError as error:
                logger.warning("slot %s: %s", record.slot, error)
                if first_aid is not None:
                    with contextlib.suppress(StoppingError):
                        first_aid()
                    first_aid = None
                if self._stopping.is_set():
                    return
                self._wait(retry.next_s())
            else:
                self.record = record
                return

    def _tidy(self, record: SlotRecord) -> Outcome:
        with self._tidying:
            return self._steps.tidy(record, self._in_use)

    def _await_start(self, record: SlotRecord) -> Outcome | None:
        given = record.assignment
        if given is None:
            raise ContractError(f"journal.{record.slot}", "assigned without an assignment")
        if record.running is not None and given.bundle == record.running.digest:
            return Outcome(Event.ALREADY, record)
        if given.mode == "shadow":
            return Outcome(
                Event.FAILED, record, Reason.NO_VARIANT, "this device does no shadow runs"
            )
        now = self._clock.wall()
        # A clock that is plainly wrong can tell no hour: better early than never.
        if given.not_before is not None and now < given.not_before and trust_of(now) != "bad":
            self._wait(min(given.not_before - now, max(self._pace.poll_s, 1.0)))
            return None
        return Outcome(Event.DONE, record)

    def _overdue(self, record: SlotRecord) -> str:
        given, now = record.assignment, self._clock.wall()
        if given is None or given.deadline is None or trust_of(now) == "bad":
            return ""
        if record.running is not None and given.bundle == record.running.digest:
            return ""
        return (
            f"not activated by the deadline, {now - given.deadline:.0f} s ago"
            if now > given.deadline
            else ""
        )

    def _watch(self, record: SlotRecord) -> Outcome | None:
        """Watch the new bundle until it is proved or has failed."""
        given = record.assignment
        if given is None:
            raise ContractError(f"journal.{record.slot}", "probation without an assignment")
        boots = 0 if record.probation is None else record.probation.boots
        if boots and (looped := self._boot_loop(record, boots)):
            return Outcome(Event.FAILED, record, Reason.BOOT_LOOP, looped)
        saved_at = self._clock.monotonic()
        while not self._stopping.is_set():
            health = self._host.health(record.slot)
            progress = ProbationProgress(
                elapsed_s=round(health.elapsed_s, 3), frames=health.frames, boots=boots
            )
            known = self.record.probation
            record = replace(self.record, probation=progress)
            verdict = judge(self._rules, given.probation, health, record.baseline)
            if verdict.failed is not None:
                return Outcome(Event.FAILED, record, verdict.failed, verdict.detail)
            if verdict.proved:
                return Outcome(Event.DONE, record)
            first = health.frames > 0 and (known is None or known.frames == 0)
            if first or self._clock.monotonic() - saved_at >= self._pace.save_s:
                self._note(record)
                saved_at = self._clock.monotonic()
            self._wait(self._pace.poll_s)
        return None

    def _note(self, record: SlotRecord) -> None:
        """Note progress: worth a try, not worth waiting for the disk."""
        try:
            self._journal.save(record)
        except StorageError as error:
            logger.info("slot %s: %s", record.slot, error)
        self.record = record
        self._on_change()

    def _count_boot(self) -> None:
        """Note that this start found a bundle on probation; tell loops from power cuts."""
        seen = self.record.probation or ProbationProgress()
        idle = 0 if seen.frames else self.record.idle_boots + 1
        record = replace(
            self.record, probation=ProbationProgress(boots=seen.boots + 1), idle_boots=idle
        )
        try:
            self._journal.save(record)
        except StorageError as error:
            logger.warning("slot %s: %s", record.slot, error)
        self.record = record
        if record.state is UpdateState.ACTIVATING and (
            looped := self._boot_loop(record, seen.boots + 1)
        ):
            self._found = Outcome(Event.FAILED, record, Reason.BOOT_LOOP, looped)

    def _run_instead(self, before: Running | None) -> None:
        """Run ``before`` in place of a lost bundle while an update is on its way already."""
        trouble = ""
        if before is not None:
            with contextlib.suppress(StoppingError):
                trouble = self._steps.revive(before, self.record.slot)
        if trouble:
            logger.error("slot %s: %s", self.record.slot, trouble)
        self.record = replace(self.record, running=None if trouble else before, previous=None)

    def _boot_loop(self, record: SlotRecord, boots: int) -> str:
        most = self._rules.max_boots
        if most and record.idle_boots >= most:
            return f"{record.idle_boots} restarts in a row without one inference"
        if most and boots >= BOOTS_FACTOR * most:
            return f"{boots} restarts within one probation"
        return ""

    def _from_links(self) -> SlotRecord:
        """Without a journal, the links still say what ran."""
        slot = self.record.slot
        running, previous = self._steps.linked(slot)
        if running is None:
            return SlotRecord(slot=slot, previous=previous)
        return SlotRecord(
            slot=slot, state=UpdateState.COMMITTED, running=running, previous=previous
        )

    def _wait(self, seconds: float) -> None:
        """Wait; a new assignment, a bell or the stop ends it early."""
        deadline = self._clock.monotonic() + seconds
        with self._news:
            while not self._stopping.is_set() and self._offer is None and not self._woken:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    break
                self._news.wait(left)
            self._woken = False
