"""The updater: asks the server what to run, and brings every slot there.

Desired state is data, the bell only says when to look: the device asks after its start, when a
session begins, when the bell rings, and now and then. Each slot works on a thread of its own, so
that a long download of one never hides the probation of another.
"""

import functools
import logging
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from agent.supervision import Guard, bare
from agent.update.acceptance import ChooseVariant
from agent.update.exam import Examine, examine
from agent.update.folders import Folders
from agent.update.journal import SqliteJournal
from agent.update.ports import AssignmentServer, PipelineHost
from agent.update.rules import SlotRule, UpdateRules
from agent.update.slot import Pace, Slot
from agent.update.steps import Steps
from edgeops import codec
from edgeops.backoff import Backoff
from edgeops.clock import Clock, trust_of
from edgeops.contracts.manifest import Manifest, Variant
from edgeops.contracts.update import (
    Assignment,
    DeviceReport,
    Reason,
    SlotReport,
    UpdateState,
)
from edgeops.errors import ContractError, TransportError, TrustError
from edgeops.trust import ASSIGNMENT_TYPE, Envelope, Role, TrustStore

logger = logging.getLogger(__name__)

STOP_S: Final = 2.0
RECONCILE_S: Final = 900.0
MAX_FOREIGN_SLOTS: Final = 16


class Updater:
    """One device's updater.

    Args:
        state_dir: The agent's state directory.
        device: Device id.
        boot: Id of this start of the agent.
        slots: What each slot expects.
        trust: Public keys.
        server: Device side of the fleet server.
        host: Runs the pipelines.
        rules: Limits of this device.
        clock: Wall time for reports, monotonic time for waits.
        on_report: Takes each report; must return at once.
        reconcile_s: Mean time between two looks at the server.
        choose: Chooses a variant; by default the best that runs here.
        examine_bundle: The exam; by default a child process.
        pace: Waiting times of the slots.
        guarded: Runs the bodies of the threads and survives our own bugs.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        device: str,
        boot: str,
        slots: Sequence[SlotRule],
        trust: TrustStore,
        server: AssignmentServer,
        host: PipelineHost,
        rules: UpdateRules,
        clock: Clock,
        on_report: Callable[[DeviceReport], None],
        reconcile_s: float = RECONCILE_S,
        choose: ChooseVariant | None = None,
        examine_bundle: Examine | None = None,
        pace: Pace | None = None,
        guarded: Guard = bare,
    ) -> None:
        self._state_dir = state_dir
        self._device = device
        self._boot = boot
        self._trust = trust
        self._server = server
        self._clock = clock
        self._on_report = on_report
        self._reconcile_s = reconcile_s
        self._pace = pace or Pace()
        self._guarded = guarded
        self._folders = Folders(state_dir)
        self._journal = SqliteJournal(state_dir / "update.sqlite")
        self._tidying = threading.Lock()
        self._reporting = threading.Lock()
        self._refusals: Counter[str] = Counter()
        self._foreign: dict[str, SlotReport] = {}
        self._news = threading.Condition()
        self._rung = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._slots = {
            rule.slot: Slot(
                rule.slot,
                steps=Steps(
                    rule=rule,
                    rules=rules,
                    folders=self._folders,
                    trust=trust,
                    server=server,
                    host=host,
                    examine=examine_bundle or functools.partial(examine, rules=rules),
                    choose=choose or choose_variant,
                ),
                host=host,
                journal=self._journal,
                rules=rules,
                clock=clock,
                in_use=self._in_use,
                tidying=self._tidying,
                on_change=self._report,
                pace=self._pace,
            )
            for rule in slots
        }

    def start(self) -> None:
        """Let every slot run what it ran before, then start working in the background."""
        for slot in self._slots.values():
            slot.recover()
        self._report()
        work = [("reconcile", self._reconcile_always)]
        work += [(f"slot-{name}", functools.partial(_work, s)) for name, s in self._slots.items()]
        for name, call in work:
            thread = threading.Thread(
                target=self._guarded,
                args=(f"update {name}", call),
                name=f"update-{name}",
                daemon=True,
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop working; whatever is cut short is taken up after the next start."""
        self._stopping.set()
        self.wake()
        self._server.cancel()
        for slot in self._slots.values():
            slot.stop()
        deadline = self._clock.monotonic() + STOP_S
        for thread in self._threads:
            # An exam or a connection under way ends with the process, and is repeated.
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        self._journal.close()

    def wake(self) -> None:
        """Ask the server now (the bell rang, or a session began); from any thread."""
        with self._news:
            self._rung = True
            self._news.notify_all()

    def slots(self) -> tuple[SlotReport, ...]:
        """Return every slot as it is now."""
        return tuple(slot.record.report() for slot in self._slots.values())

    def current(self, slot: str) -> Path | None:
        """Return the folder of the bundle that answers in a slot, or ``None``."""
        running = self._slots[slot].record.running
        return None if running is None else self._folders.bundle(running.digest)

    def refusals(self) -> Mapping[str, int]:
        """Return how many assignments were not obeyed, by cause."""
        return dict(self._refusals)

    @property
    def notices(self) -> tuple[str, ...]:
        """Return what had to be done to open the journal, in sentences."""
        return self._journal.notices

    def reconcile(self) -> None:
        """Ask the server what this device must run, and hand it to the slots.

        Raises:
            TransportError: Not reachable; try again.
            ContractError: The answer makes no sense; try again.
        """
        for envelope in self._server.assignments():
            try:
                assignment = self._opened(envelope)
            except (TrustError, ContractError) as error:
                self._refuse("signature" if isinstance(error, TrustError) else "malformed", error)
                continue
            self._hand_over(assignment)

    def _opened(self, envelope: Envelope) -> Assignment:
        payload = self._trust.open(
            Role.DIRECTOR, ASSIGNMENT_TYPE, envelope, what="the assignment sent"
        )
        return codec.decode(payload, Assignment, where="assignment")

    def _hand_over(self, assignment: Assignment) -> None:
        if assignment.device != self._device:
            self._refuse("wrong_device", f"an assignment for {assignment.device} was sent to us")
            return
        slot = self._slots.get(assignment.slot)
        if slot is None:
            self._turn_down(assignment)
        elif assignment.gen < slot.record.high_gen:
            # An old assignment played back, or a server that lost its memory.
            self._refuse("replayed", f"generation {assignment.gen} of {assignment.slot} is past")
        elif slot.offer(assignment) and slot.record.assignment is not None:
            self._server.cancel()  # of what was being fetched for an older generation

    def _turn_down(self, assignment: Assignment) -> None:
        """Tell the server, once per generation, that the slot it means is not configured here."""
        why = f"no pipeline of this device has the slot {assignment.slot}"
        self._refuse("unknown_slot", why)
        with self._reporting:
            known = self._foreign.get(assignment.slot)
            if known is None and len(self._foreign) >= MAX_FOREIGN_SLOTS:
                return
            if known is not None and known.gen >= assignment.gen:
                return
            self._foreign[assignment.slot] = SlotReport(
                slot=assignment.slot,
                gen=assignment.gen,
                state=UpdateState.REJECTED,
                target=assignment.bundle,
                rollout=assignment.rollout,
                attempt=assignment.attempt,
                reason=Reason.NO_SLOT,
                detail=why,
            )
        self._report()

    def _refuse(self, cause: str, why: object) -> None:
        self._refusals[cause] += 1
        if self._refusals[cause] == 1:
            logger.warning("update: %s", why)

    def _reconcile_always(self) -> None:
        retry = Backoff(base_s=self._pace.retry_base_s, cap_s=self._pace.retry_cap_s)
        rng = random.SystemRandom()
        while not self._stopping.is_set():
            try:
                self.reconcile()
            except (TransportError, ContractError) as error:
                logger.info("update: %s", error)
                wait = min(retry.next_s(), self._reconcile_s)
            else:
                retry.lived(retry.stable_s)
                wait = self._reconcile_s * rng.uniform(0.5, 1.5)
                for slot in self._slots.values():
                    slot.wake()  # the server answers: no need to wait any longer
            self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        deadline = self._clock.monotonic() + seconds
        with self._news:
            while not self._stopping.is_set() and not self._rung:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    break
                self._news.wait(left)
            self._rung = False

    def _report(self) -> None:
        with self._reporting:
            now = self._clock.wall()
            report = DeviceReport(
                device=self._device,
                boot=self._boot,
                report_seq=self._journal.next_report(),
                slots=(*self.slots(), *self._foreign.values()),
                free_bytes=_free_bytes(self._state_dir),
                clock=trust_of(now),
            )
            self._on_report(report)

    def _in_use(self) -> set[str]:
        kept: set[str] = set()
        for name, slot in self._slots.items():
            kept |= slot.record.in_use()
            factory = self._folders.linked(name, "factory")
            if factory is not None:
                kept.add(factory)
        return kept


def choose_variant(manifest: Manifest, rule: SlotRule) -> Variant:
    """Return the variant that runs best here; raises ``InferenceError`` where none does."""
    # Imported on use: it may bring NumPy, which an agent without updates never needs.
    from edgeops.inference import variants  # noqa: PLC0415

    return variants.choose_variant(manifest, runtime=rule.runtime, precision=rule.precision)


def _work(slot: Slot) -> None:
    while slot.is_running():
        slot.drive()
        slot.wait_for_work()


def _free_bytes(folder: Path) -> int:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize
