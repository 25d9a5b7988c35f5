"""What an operator asks for: which bundle, for whom, in which stages, under which gate.

The same document is the policy file of ``edgeops fleet rollout start`` (YAML), the body of the
REST call (JSON) and what the database keeps. Unknown keys are refused in all three.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from edgeops import codec, yamldoc
from edgeops.contracts.scalars import Digest, Id, Name
from edgeops.contracts.update import Probation
from edgeops.quantities import Duration

MAX_STAGES: Final = 20
MAX_LISTED_DEVICES: Final = 10_000

NO_SOAK: Final = Duration(0)
ATTEMPT_TIMEOUT: Final = Duration(3600)
GATE_DEADLINE: Final = Duration(24 * 3600)


class SmallStage(StrEnum):
    """What lets a stage pass that is too small to prove its failure rate."""

    ALL = "all"  # every member committed; weaker proof, and the evidence says so
    WILSON = "wilson"  # nothing: the statistical bound or an operator


class OnFail(StrEnum):
    """What happens once the failure rate is proven to be above the gate's.

    Only the always-valid proof (the e-process) aborts; every weaker sign pauses.
    """

    PAUSE = "pause"
    ABORT_KEEP = "abort-keep"
    ABORT_REVERT = "abort-revert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which devices a rollout is for; every condition given must hold, none means all devices.

    Attributes:
        labels: Labels that a device has.
        site: Site that it stands at.
        board: Hardware that it is.
        devices: Ids that are meant.
    """

    labels: dict[Id, Annotated[str, Meta(max_length=256)]] = field(default_factory=dict)
    site: Annotated[str, Meta(max_length=100)] | None = None
    board: Annotated[str, Meta(max_length=100)] | None = None
    devices: Annotated[tuple[Id, ...], Meta(max_length=MAX_LISTED_DEVICES)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """When a stage may pass and when it must stop.

    Attributes:
        max_failure_rate: Share of attempted devices that may fail, 0 to 1.
        min_n: Attempts before the pausing bound is looked at.
        small_stage: ``None`` chooses: ``all`` where the whole fleet has fewer than 200 devices.
        on_fail: What a proven failure rate does: pause, or end; then what is installed is kept or
            reverted.
        deadline: How long a stage may stay without enough data before it pauses.
    """

    max_failure_rate: Annotated[float, Meta(ge=0.001, le=0.5)] = 0.05
    min_n: Annotated[int, Meta(ge=1, le=1000)] = 5
    small_stage: SmallStage | None = None
    on_fail: OnFail = OnFail.PAUSE
    deadline: Duration = GATE_DEADLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One step; ``percent`` and ``count`` are totals over all stages up to this one.

    Attributes:
        percent: Share of the selected devices, in per cent; either this or ``count``.
        count: Number of devices.
        soak: How long the stage must stay healthy after its last device settled.
        max_in_flight: Devices that may be away at once: updating, or failed and not come back.
        attempt_timeout: A device that began and reports nothing final for so long has failed.
        gate: Replaces the rollout's gate for this stage.
    """

    percent: Annotated[float, Meta(gt=0, le=100)] | None = None
    count: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    soak: Duration = NO_SOAK
    max_in_flight: Annotated[int, Meta(ge=1, le=5000)] = 100
    attempt_timeout: Duration = ATTEMPT_TIMEOUT
    gate: GateSpec | None = None

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.count is None):
            raise ValueError("Expected either percent or count")
        if self.attempt_timeout <= 0:
            raise ValueError("Expected an attempt_timeout above 0")


ALL_AT_ONCE: Final = (StageSpec(percent=100.0),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSpec:
    """One rollout as asked for.

    Attributes:
        schema: Version of this format.
        name: What people call it.
        bundle: What to roll out; the command fills it in from its argument.
        slot: Slot of the devices.
        selector: Which devices.
        stages: In order; the last one is ``percent: 100``.
        gate: When a stage passes and when it stops.
        retries: Further attempts after a transient failure (network, interrupted, deadline).
        probation: How long each device watches it before it commits.
        downgrade_ok: Let devices go down to a lower serial.
        approval: Wait for an operator's approval before the first device.
        skip_unreachable_after: In the last stage, stop waiting for devices that were never
            reached; ``None`` waits for them for ever.
    """

    schema: Literal[1] = 1
    name: Annotated[str, Meta(max_length=100)] = ""
    bundle: Digest
    slot: Name = "main"
    selector: Selector = field(default_factory=Selector)
    stages: Annotated[tuple[StageSpec, ...], Meta(min_length=1, max_length=MAX_STAGES)] = (
        ALL_AT_ONCE
    )
    gate: GateSpec = field(default_factory=GateSpec)
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    probation: Probation = field(default_factory=Probation)
    downgrade_ok: bool = False
    approval: bool = False
    skip_unreachable_after: Duration | None = None

    def __post_init__(self) -> None:
        if self.stages[-1].percent != 100.0:  # noqa: PLR2004  # per cent
            raise ValueError("Expected the last stage to be percent: 100")
        for what in ("percent", "count"):
            totals = [getattr(s, what) for s in self.stages if getattr(s, what) is not None]
            if any(later <= earlier for earlier, later in itertools.pairwise(totals)):
                raise ValueError(f"Expected the stages' {what} to grow, got {totals}")

    def gate_of(self, stage: int) -> GateSpec:
        """Return the gate of stage ``stage`` (from 0)."""
        return self.stages[stage].gate or self.gate


def parse_spec(
    data: bytes, *, name: str, overrides: Mapping[str, str] | None = None
) -> RolloutSpec:
    """Read a policy as YAML or JSON; unknown keys are refused.

    Args:
        data: The document.
        name: Its name in error messages.
        overrides: Dotted path to YAML text laid over it, such as ``{"bundle": "sha256:…"}``.

    Raises:
        ContractError: Anything is wrong with it; all faults are listed.
    """
    return yamldoc.parse(data, RolloutSpec, name=name, overrides=overrides)


def read_spec(path: Path, *, overrides: Mapping[str, str] | None = None) -> RolloutSpec:
    """Read a policy file; see ``parse_spec``.

    Raises:
        StorageError: The file cannot be read.
        ContractError: Anything is wrong with it.
    """
    return yamldoc.load(path, RolloutSpec, overrides=overrides)


def staged(
    *,
    canary: int | None = None,
    percents: Sequence[float] = (),
    soak: Duration = NO_SOAK,
    max_in_flight: int = 100,
    attempt_timeout: Duration = ATTEMPT_TIMEOUT,
) -> tuple[StageSpec, ...]:
    """Return the stages that the short flags ``--canary 5 --stages 25,100`` ask for.

    Args:
        canary: Devices of the first stage; ``None``: no canary.
        percents: Totals of the stages after it; 100 is added where it is missing.
        soak: Soak time of each stage.
        max_in_flight: Of each stage.
        attempt_timeout: Of each stage.

    Raises:
        ContractError: A number is out of range.
    """
    totals: list[dict[str, float]] = [] if canary is None else [{"count": canary}]
    totals += [{"percent": percent} for percent in percents]
    if not percents or percents[-1] != 100:  # noqa: PLR2004  # per cent
        totals.append({"percent": 100})
    common = {
        "soak": float(soak),
        "max_in_flight": max_in_flight,
        "attempt_timeout": float(attempt_timeout),
    }
    rows = [{**total, **common} for total in totals]
    return codec.convert(rows, tuple[StageSpec, ...], where="stages")
