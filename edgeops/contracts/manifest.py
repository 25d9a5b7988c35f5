"""One immutable model version: everything a device needs to run it and to distrust it."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Meta

from edgeops.contracts.preprocess import ColorOrder, Step
from edgeops.contracts.scalars import (
    Count,
    Digest,
    Dim,
    DType,
    Layout,
    Name,
    Positive,
    Precision,
    Ratio,
    RelativePath,
    Runtime,
    Sha256,
    Version,
)

SCHEMA: Final = 1

TaskType = Literal[
    "classification", "detection", "segmentation", "keyword", "anomaly", "regression"
]
Decoder = Literal["ssd", "yolox", "yolo", "ultraface", "fastestdet"]
_DECODERS: Final = ", ".join(get_args(Decoder))
Label = Annotated[str, Meta(min_length=1, max_length=100)]
Text = Annotated[str, Meta(max_length=8000)]
FreeForm = Annotated[Any, Meta(description="any JSON value")]
"""A value that no program interprets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the model's outputs mean.

    Attributes:
        type: Kind of answer.
        labels: Class names in the order of the model's outputs.
        activation: What turns raw outputs into scores in 0..1.
        threshold: Score from which a decision counts: class probability (classification,
            keyword) or anomaly score.
        score: Anomaly: distance between input and reconstruction.
        aggregate: Anomaly: how the windows of one sample become one score.
        decoder: Detection: which head the raw outputs come from.
        score_threshold: Detection: weakest box that is reported.
        nms_iou: Detection: overlap from which the weaker box of one class is dropped.
        max_objects: Detection: most boxes reported for one image.
        strides: Detection: pixels per cell of each head (yolo, yolox).
    """

    type: TaskType
    labels: tuple[Label, ...] = ()
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    threshold: float | None = None
    score: Literal["mse", "mae", "output"] | None = None
    aggregate: Literal["mean", "max"] = "mean"
    decoder: Decoder | None = None
    score_threshold: Ratio = 0.3
    nms_iou: Ratio = 0.45
    max_objects: Annotated[int, Meta(ge=1, le=1000)] = 100
    strides: tuple[Dim, ...] = (8, 16, 32)

    def __post_init__(self) -> None:
        if self.type in {"classification", "keyword", "detection"} and not self.labels:
            raise ValueError(f"Expected labels for the task {self.type}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("Expected labels that differ from each other")
        if self.type == "detection" and self.decoder is None:
            raise ValueError(f"Expected a decoder for the task detection: {_DECODERS}")
        if self.type == "anomaly" and self.score is None:
            raise ValueError("Expected a score (mse, mae, output) for the task anomaly")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor at the edge of a model file.

    Attributes:
        shape: Without symbols; the batch axis is 1.
        scale: real = scale * (q - zero_point) for integer tensors; ``None`` for float ones.
    """

    name: Annotated[str, Meta(min_length=1, max_length=300)]
    shape: tuple[Dim, ...]
    dtype: DType
    layout: Layout = "none"
    scale: Positive | None = None
    zero_point: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a sample goes through before it is a tensor.

    Attributes:
        color: Channel order of the *samples in data files*; cameras say their own.
        layout: Axis order of the tensor that ``preprocess`` ends with.
    """

    name: str = "input"
    shape: tuple[Dim, ...] = ()
    layout: Layout = "none"
    color: ColorOrder = "rgb"
    preprocess: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """One file of the bundle, addressed by its content."""

    file: RelativePath
    sha256: Sha256
    size_bytes: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Requires:
    """What a device needs for a variant; an empty list means any."""

    arch: tuple[str, ...] = ()
    ram_bytes: Count = 0
    opset: Count = 0
    runtime_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One model file; a device takes the first variant of the list that it can run.

    Attributes:
        metrics: Figures on the evaluation data, such as ``{"top1": 0.94}``.
        drop: Loss of the deciding metric against the float original (negative: gained).
        quantized_macs: Share of multiply-accumulates that run in integers.
        float_islands: Names of nodes kept in float.
    """

    runtime: Runtime
    precision: Precision
    file: RelativePath
    sha256: Sha256
    size_bytes: Count
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    requires: Requires = field(default_factory=Requires)
    metrics: dict[str, float] = field(default_factory=dict)
    drop: float | None = None
    quantized_macs: Ratio = 0.0
    float_islands: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Return runtime and precision in one word, such as ``onnx-int8``."""
        return f"{self.runtime}-{self.precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The exam before activation: samples and what each variant answered when it was made.

    Attributes:
        samples: ``.npz`` with ``x``: raw samples ``[n, …]``, before pre-processing.
        expected: JSON ``{"variants": {"onnx-int8": [Result, …]}}``, see ``contracts.result``.
        score_tolerance: Largest accepted difference of a score (absolute; relative for anomaly).
        min_agreement: Share of samples that must agree.
    """

    samples: FileRef
    expected: FileRef
    count: Annotated[int, Meta(ge=1, le=10_000)]
    score_tolerance: Positive = 0.05
    min_agreement: Ratio = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReference:
    """What scores and labels looked like on the evaluation data.

    Attributes:
        score_edges: ``n + 1`` ascending edges of the score histogram.
        score_counts: ``n`` counts.
        label_counts: How often each label was the answer.
    """

    samples: Count
    score_edges: tuple[float, ...]
    score_counts: tuple[Count, ...]
    label_counts: dict[str, Count] = field(default_factory=dict)
    input_mean: float | None = None
    input_std: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Model card: what it is for, what it was judged on, where it must not be used.

    Attributes:
        summary: What it is, in a sentence.
        intended_use: What it may be used for.
        data: What it was trained and judged on.
        limits: Where it is weak and must not be used.
        licence: Licence of the weights.
        metrics: Figures overall.
        per_class: Figures by class.
    """

    summary: Text = ""
    intended_use: Text = ""
    data: Text = ""
    limits: Text = ""
    licence: Text = ""
    metrics: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """Where this version comes from."""

    source_sha256: Sha256 | None = None
    previous_bundle: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One immutable model version.

    Attributes:
        serial: Only grows; a device refuses to go down unless the assignment allows it.
        recipe: How it was made: every option, tool versions, seed, digests of the data.
        report: How it was made and judged, at length; the same for the same input.
        development: Signed with a development key; devices refuse it unless they trust that key.
    """

    schema: Literal[1] = SCHEMA
    name: Name
    version: Version
    serial: Annotated[int, Meta(ge=1)]
    task: Task
    inputs: tuple[InputSpec, ...]
    variants: tuple[Variant, ...]
    parents: Parents = field(default_factory=Parents)
    recipe: dict[str, FreeForm] = field(default_factory=dict)
    golden: Golden | None = None
    drift_reference: DriftReference | None = None
    card: Card = field(default_factory=Card)
    report: FileRef | None = None
    development: bool = False

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError("Expected at least one variant")
        if not self.inputs:
            raise ValueError("Expected at least one input")
        ids = [variant.id for variant in self.variants]
        if len(set(ids)) != len(ids):
            raise ValueError("Expected variants that differ in runtime or precision")
        names = [ref.file for ref in self.files()]
        if len(set(names)) != len(names):
            raise ValueError("Expected every file to be named once")
        if any(name == "manifest.json" or name.startswith("signatures/") for name in names):
            raise ValueError("Expected no file named manifest.json or below signatures/")

    def files(self) -> tuple[FileRef, ...]:
        """Return every file that the manifest addresses."""
        models = tuple(
            FileRef(file=v.file, sha256=v.sha256, size_bytes=v.size_bytes) for v in self.variants
        )
        golden = () if self.golden is None else (self.golden.samples, self.golden.expected)
        report = () if self.report is None else (self.report,)
        return models + golden + report

    def variant(self, variant_id: str) -> Variant | None:
        """Return the variant ``runtime-precision``, or ``None``."""
        return next((v for v in self.variants if v.id == variant_id), None)
