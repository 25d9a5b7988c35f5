"""What a device must run (assignment) and what it says it runs (report)."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from edgeops.clock import ClockTrust
from edgeops.contracts.scalars import Count, Digest, Id, Name, Seconds


class UpdateState(StrEnum):
    """Where a slot is on the way to a new bundle; the value goes to disk and wire."""

    IDLE = "idle"
    ASSIGNED = "assigned"
    META = "meta"
    FETCH = "fetch"
    STAGED = "staged"
    PREFLIGHT = "preflight"
    SHADOW = "shadow"
    ACTIVATING = "activating"
    PROBATION = "probation"
    COMMITTED = "committed"
    REJECTED = "rejected"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    FALLBACK = "fallback"


FAILED_STATES = frozenset({UpdateState.REJECTED, UpdateState.ROLLED_BACK, UpdateState.FALLBACK})


class ReasonClass(StrEnum):
    """Whose fault a failure is; only device and bundle count in a rollout's failure rate."""

    TRANSIENT = "transient"
    DEVICE = "device"
    BUNDLE = "bundle"
    POLICY = "policy"
    SECURITY = "security"


class Reason(StrEnum):
    """Why an update ended without success; a closed list."""

    NETWORK = "network"
    DISK_FULL = "disk-full"
    DEADLINE = "deadline"
    NO_SLOT = "no-slot"
    NO_VARIANT = "no-variant"
    WRONG_TASK = "wrong-task"
    MISSING_LABELS = "missing-labels"
    MALFORMED = "malformed"
    DIGEST = "digest"
    SIGNATURE = "signature"
    SERIAL = "serial"
    WRONG_DEVICE = "wrong-device"
    LOAD = "load"
    GOLDEN = "golden"
    LATENCY = "latency"
    CRASH = "crash"
    NO_PROGRESS = "no-progress"
    BAD_OUTPUT = "bad-output"
    BEHAVIOUR = "behaviour"
    BOOT_LOOP = "boot-loop"
    INTERRUPTED = "interrupted"
    WITHDRAWN = "withdrawn"

    @property
    def blame(self) -> ReasonClass:
        """Return whose fault it is."""
        return _BLAME[self]


_BLAME = {
    Reason.NETWORK: ReasonClass.TRANSIENT,
    Reason.INTERRUPTED: ReasonClass.TRANSIENT,
    Reason.DISK_FULL: ReasonClass.DEVICE,
    Reason.NO_SLOT: ReasonClass.DEVICE,
    Reason.NO_VARIANT: ReasonClass.DEVICE,
    Reason.NO_PROGRESS: ReasonClass.DEVICE,
    Reason.BOOT_LOOP: ReasonClass.DEVICE,
    Reason.DEADLINE: ReasonClass.POLICY,
    Reason.WITHDRAWN: ReasonClass.POLICY,
    Reason.WRONG_TASK: ReasonClass.BUNDLE,
    Reason.MISSING_LABELS: ReasonClass.BUNDLE,
    Reason.MALFORMED: ReasonClass.BUNDLE,
    Reason.LOAD: ReasonClass.BUNDLE,
    Reason.GOLDEN: ReasonClass.BUNDLE,
    Reason.LATENCY: ReasonClass.BUNDLE,
    Reason.CRASH: ReasonClass.BUNDLE,
    Reason.BAD_OUTPUT: ReasonClass.BUNDLE,
    Reason.BEHAVIOUR: ReasonClass.BUNDLE,
    Reason.DIGEST: ReasonClass.SECURITY,
    Reason.SIGNATURE: ReasonClass.SECURITY,
    Reason.SERIAL: ReasonClass.SECURITY,
    Reason.WRONG_DEVICE: ReasonClass.SECURITY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probation:
    """How long a new bundle is watched: at least ``s`` seconds **and** ``frames`` inferences.

    Attributes:
        s: Fewest seconds.
        frames: Fewest inferences.
    """

    s: Seconds = 60.0
    frames: Count = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What one slot of one device must run; signed by the director key.

    Attributes:
        gen: Only grows per device and slot; a device never obeys a lower one.
        attempt: Counts from 1 within a rollout.
        not_before: Earliest start, wall seconds since 1970; ``None``: at once.
        deadline: Latest activation, wall seconds since 1970; ``None``: none.
        downgrade_ok_from: Serial from which the device may go down to this bundle's serial.
    """

    schema: Literal[1] = 1
    device: Id
    slot: Name
    gen: Annotated[int, Meta(ge=1)]
    bundle: Digest
    mode: Literal["active", "shadow"] = "active"
    rollout: Id | None = None
    attempt: Annotated[int, Meta(ge=1)] = 1
    not_before: Seconds | None = None
    deadline: Seconds | None = None
    probation: Probation = field(default_factory=Probation)
    downgrade_ok_from: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What the exam before activation measured on this device.

    Attributes:
        golden_agreement: Share of golden samples answered as expected, 0 to 1; ``None``: the
            bundle has none, so all that is known is that it loads.
        p95_ms: 95th percentile of one inference in milliseconds; 0 where none was timed.
        variant: Runtime and precision that was examined.
    """

    golden_agreement: float | None = None
    p95_ms: float
    rss_bytes: Count
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbationProgress:
    """How far a probation has come."""

    elapsed_s: Seconds = 0.0
    frames: Count = 0
    boots: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReport:
    """One slot as the device has it now.

    Attributes:
        gen: Generation that ``state`` speaks of; 0 before the first assignment.
        running: Digest that answers now; ``None`` before the first bundle.
        version: Name and version of ``running``, for people.
        detail: One sentence for people, with the figures that decided.
    """

    slot: Name
    gen: Count
    state: UpdateState
    running: Digest | None = None
    previous: Digest | None = None
    target: Digest | None = None
    version: str = ""
    serial: Count = 0
    rollout: Id | None = None
    attempt: Count = 0
    reason: Reason | None = None
    detail: str = ""
    preflight: Preflight | None = None
    probation: ProbationProgress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """Full snapshot, device to server; sent again until its ``report_seq`` is acknowledged."""

    v: Literal[1] = 1
    device: Id
    boot: Id
    report_seq: Annotated[int, Meta(ge=1)]
    slots: tuple[SlotReport, ...]
    free_bytes: Count = 0
    clock: ClockTrust = "estimated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Content of ``conn``: retained while online, replaced by the last will."""

    v: Literal[1] = 1
    device: Id
    online: bool
    boot: Id
    agent: str = ""
    arch: str = ""
    runtimes: tuple[str, ...] = ()
    running: dict[str, Digest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bell:
    """Content of ``bell``: something waits; never the command itself."""

    v: Literal[1] = 1
    gen: Count = 0
