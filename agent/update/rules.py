"""What this device accepts as an update, from its configuration."""

from dataclasses import dataclass, field
from typing import Literal

from edgeops.contracts.manifest import TaskType
from edgeops.contracts.scalars import Count, Precision, Ratio, Runtime
from edgeops.quantities import ByteSize, Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRule:
    """What the pipelines of one slot expect of any bundle that runs in it.

    Attributes:
        task: Task type that the pipelines and rules are written for; ``None``: any.
        labels: Labels that the rules name; a bundle without them would silence a rule.
        runtime: Wanted runtime, or ``auto``.
        precision: Wanted precision, or ``auto``.
    """

    slot: str
    task: TaskType | None = None
    labels: frozenset[str] = frozenset()
    runtime: Runtime | Literal["auto"] = "auto"
    precision: Precision | Literal["auto"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourRule:
    """How far the mix of labels may move between the old model and the new one.

    Attributes:
        max_label_shift: Largest accepted total variation distance (0..1) of the label mixes.
        min_frames: Labels needed on either side before the mixes are compared.
    """

    max_label_shift: Ratio = 0.5
    min_frames: Count = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRules:
    """Limits of probation and exam.

    Attributes:
        behaviour: How far the mix of labels may move.
        max_latency: Largest 95th percentile of one inference, exam and probation alike.
        max_boots: Restarts in a row without one inference before the device goes back.
        max_restarts: Crashes of the slot's pipelines before the device goes back.
        max_bad_share: Share of answers (NaN, constant) or errors from which it goes back.
        stall: Time without a single inference after which it goes back.
        exam_timeout: Longest run of the exam before activation.
        exam_memory: Address space of the exam's process.
        min_free: Bytes that a download must leave free on the disk.
    """

    behaviour: BehaviourRule = field(default_factory=BehaviourRule)
    max_latency: Duration = Duration(1.0)
    max_boots: Count = 3
    max_restarts: Count = 2
    max_bad_share: Ratio = 0.1
    stall: Duration = Duration(120.0)
    exam_timeout: Duration = Duration(120.0)
    exam_memory: ByteSize = ByteSize(4 << 30)
    min_free: ByteSize = ByteSize(16 << 20)
