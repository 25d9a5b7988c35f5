"""A device with real journal and folders around an emulated host and server, for one test."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from agent.update.exam import ExamOutcome
from agent.update.record import SlotRecord
from agent.update.rules import SlotRule, UpdateRules
from agent.update.slot import Pace, Slot
from agent.update.steps import Steps
from edgeops.bundle import Bundle
from edgeops.clock import Clock, SystemClock
from edgeops.contracts.manifest import Manifest, Variant
from edgeops.contracts.update import Assignment, Preflight, Probation
from edgeops.errors import InferenceError
from edgeops.trust import SigningKey, TrustStore
from tests.emulation.bundle_source import BundleSource
from tests.emulation.host import EmulatedHost
from tests.emulation.power import CutFolders, CutJournal, Power

PASSED = ExamOutcome(
    Preflight(golden_agreement=1.0, p95_ms=2.0, rss_bytes=1000, variant="onnx-float32")
)
PACE = Pace(poll_s=0.0, save_s=0.0, retry_base_s=0.001, retry_cap_s=0.002)


def first_variant(manifest: Manifest, rule: SlotRule) -> Variant:
    if rule.runtime != "auto":
        raise InferenceError(f"no variant for {rule.runtime}")
    return manifest.variants[0]


def assignment(bundle: Bundle, gen: int, *, downgrade_ok_from: int | None = None) -> Assignment:
    return Assignment(
        device="d1",
        slot="main",
        gen=gen,
        bundle=bundle.digest,
        probation=Probation(s=20.0, frames=100),
        downgrade_ok_from=downgrade_ok_from,
    )


@dataclass(slots=True)
class Device:
    """Starts as often as the test wants; the folder is what stays.

    Attributes:
        reports: States in the order they were reported, over all starts.
    """

    state_dir: Path
    source: BundleSource
    trust: TrustStore
    host: EmulatedHost = field(default_factory=EmulatedHost)
    rule: SlotRule = field(default_factory=lambda: SlotRule(slot="main"))
    rules: UpdateRules = field(default_factory=UpdateRules)
    clock: Clock = field(default_factory=SystemClock)
    exam: Callable[[Path, str], ExamOutcome] = lambda _folder, _variant: PASSED
    power: Power = field(default_factory=Power)
    reports: list[str] = field(default_factory=list)
    _journals: list[CutJournal] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, release_key: SigningKey) -> "Device":
        director = SigningKey.generate()
        source = BundleSource(director)
        trust = TrustStore(release=[release_key.public], director=[director.public])
        device = cls(folder / "state", source, trust)
        device.state_dir.mkdir()
        return device

    def start(self, *, cut_before: int | None = None) -> Slot:
        """Boot: a new process with new power; what ran before runs no more."""
        self.switch_off()
        power = Power(cut_before)
        self.power = power
        self.source.power = power
        self.host.power = power
        self.host.running.clear()
        folders = CutFolders(self.state_dir, power)
        journal = CutJournal(self.state_dir / "update.sqlite", power)
        self._journals.append(journal)
        steps = Steps(
            rule=self.rule,
            rules=self.rules,
            folders=folders,
            trust=self.trust,
            server=self.source,
            host=self.host,
            examine=self.exam,
            choose=first_variant,
        )
        slot: Slot

        def report() -> None:
            self.reports.append(slot.record.state.value)

        def in_use() -> set[str]:
            return slot.record.in_use()

        slot = Slot(
            "main",
            steps=steps,
            host=self.host,
            journal=journal,
            rules=self.rules,
            clock=self.clock,
            in_use=in_use,
            tidying=Lock(),
            on_change=report,
            pace=PACE,
        )
        slot.recover()
        return slot

    def switch_off(self) -> None:
        """Let go of the files, as a dead process does."""
        while self._journals:
            self._journals.pop().close()

    def run(self, *offers: Assignment, cut_before: int | None = None) -> SlotRecord:
        """Boot, hand over the assignments and work until the slot rests."""
        slot = self.start(cut_before=cut_before)
        for given in offers:
            slot.offer(given)
        slot.drive()
        return slot.record

    def answers(self) -> str:
        """Return the digest of the bundle that answers now; empty where none does."""
        name = self.host.running.get("main", "")
        return f"sha256:{name}" if name else ""

    def linked(self) -> str:
        """Return the digest that the link ``current`` names; empty where there is none."""
        link = self.state_dir / "slots" / "main" / "current"
        return f"sha256:{link.readlink().name}" if link.is_symlink() else ""
