"""What a report says, as plain data: the JSON document, and all that the page draws."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from converters.assessment import Assessment, Comparison
from converters.outcome import RefusedNode
from converters.plan_gate import PlanMatch
from edgeops.contracts.manifest import Card
from edgeops.contracts.scalars import Name, Version

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """A data set that was used.

    Attributes:
        size: Samples in the file or folder.
        used: Samples that were drawn from it.
    """

    name: str
    sha256: str
    size: int
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """A model file that was made.

    Attributes:
        id: Runtime and precision, such as ``onnx-int8``.
        within_budget: ``None`` where nothing could be judged.
        quantized_macs: Share of multiply-accumulates in integers, 0-1.
        latency_ms: p50 and p95 of one inference here, one thread; empty where not measured.
        partitions: Pieces that the runtime's fast path cuts the file into; 1 is best.
        arena_bytes: The least memory that its tensors need at once; ``None`` where not asked.
        plan_match: How near an integer file comes to the simulation of its plan.
        fastest: Whether it has the least p50 of all within budget.
    """

    id: str
    runtime: str
    precision: str
    file: str
    size_bytes: int
    sha256: str
    within_budget: bool | None = None
    quantized_macs: float = 0.0
    assessment: Assessment | None = None
    comparison: Comparison | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    partitions: int | None = None
    arena_bytes: int | None = None
    plan_match: PlanMatch | None = None
    fastest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalReport:
    """An output that was asked for and is not there, with the nodes that stand in its way.

    Attributes:
        over_budget: It can be made, but loses more than is accepted.
    """

    id: str
    reason: str
    over_budget: bool = False
    nodes: tuple[RefusedNode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReport:
    """A rung of the ladder: how int8 was tried, and what it cost."""

    rung: str
    kept_float: tuple[str, ...]
    drop: float
    within_budget: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """How far a tensor of the quantized model lies from the float original's.

    Attributes:
        node: The node that makes it.
        sqnr_db: Signal over error, summed over the samples; 20 dB is an error of a tenth.
            ``None``: no error at all.
    """

    tensor: str
    node: str
    operator: str
    sqnr_db: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """A node that computes in float inside an int8 file."""

    node: str
    operator: str
    reason: str
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityReport:
    """What quantizing one layer alone does to the output.

    Attributes:
        noise: Squared error at the output over its energy.
    """

    node: str
    noise: float
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationReport:
    """How the int8 files came about.

    Attributes:
        shipped: Whether there are such files; else it is the least bad attempt.
        macs: Multiply-accumulates of one inference.
        quantized_macs: Share of them in integers, 0-1.
        weight_bytes: Bytes of the float weights.
        quantized_bytes: Share of them that is stored in integers, 0-1.
        tensors: Number of tensors on an integer grid.
        methods: Calibration method -> number of tensors whose range it chose.
        layers: In the order of the graph.
        sensitivities: Most sensitive first; empty where no scan was needed.
    """

    shipped: bool = True
    macs: int
    quantized_macs: float
    weight_bytes: int
    quantized_bytes: float
    tensors: int
    methods: dict[str, int]
    layers: tuple[LayerError, ...]
    islands: tuple[Island, ...]
    sensitivities: tuple[SensitivityReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedLayerReport:
    """Channels of one layer before and after pruning.

    Attributes:
        error_cut: Squared error of its results over their energy, as cut; ``None`` where
            nothing in front of it went.
        error_repaired: The same after the refit.
    """

    node: str
    operator: str
    before: int
    after: int
    error_cut: float | None = None
    error_repaired: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningReport:
    """What structured pruning took away; pairs are before and after."""

    channels: tuple[int, int]
    parameters: tuple[int, int]
    macs: tuple[int, int]
    layers: tuple[PrunedLayerReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardLatency:
    """What devices of one kind measured with one variant of this model."""

    board: str
    variant: str
    p50_ms: float
    p95_ms: float | None = None
    devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamReport:
    """What travels with the model to be checked on devices.

    Attributes:
        golden: Samples of the exam before activation.
        tolerance: Largest accepted difference of a score.
        drift_samples: Samples behind the drift reference.
        drift_labels: How often each label was the answer.
    """

    golden: int
    tolerance: float
    drift_samples: int
    drift_labels: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the files were made from, by what.

    Attributes:
        options: Every option, flat: dotted key -> text.
        tools: Name -> version.
        gate_samples: Samples that the imported model was held against the original on.
        gate_difference: Largest relative difference found.
    """

    source: str
    source_format: str
    source_sha256: str
    notes: tuple[str, ...]
    gate_samples: int
    gate_difference: float
    tools: dict[str, str]
    options: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a report says.

    Attributes:
        metric: The deciding one.
        judged: Whether there were data to judge by.
        budget: Largest accepted loss, see ``metrics.loss``.
        original: The float original, written as ONNX.
        concessions: What is not as it was asked for, sentence by sentence.
        seconds: Duration of the conversion; 0 in the document inside a bundle.
    """

    schema: Literal[1] = SCHEMA
    name: Name
    version: Version
    verdict: Literal["pass", "fallback", "refused"]
    task: str
    metric: str
    judged: bool
    budget: float
    original: VariantReport
    variants: tuple[VariantReport, ...]
    refusals: tuple[RefusalReport, ...]
    concessions: tuple[str, ...]
    attempts: tuple[AttemptReport, ...]
    warnings: tuple[str, ...]
    calibration: DataReport | None = None
    evaluation: DataReport | None = None
    quantization: QuantizationReport | None = None
    pruning: PruningReport | None = None
    exam: ExamReport | None = None
    card: Card
    provenance: Provenance
    boards: tuple[BoardLatency, ...] = ()
    digest: str = ""
    seconds: float = 0.0


def without_measurements(report: Report) -> Report:
    """Return what the same input always gives, byte for byte: no times, no digest of itself."""
    return replace(
        report,
        original=_still(report.original),
        variants=tuple(_still(variant) for variant in report.variants),
        boards=(),
        digest="",
        seconds=0.0,
    )


def _still(variant: VariantReport) -> VariantReport:
    return replace(variant, latency_ms={}, fastest=False)
