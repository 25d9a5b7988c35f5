"""Recipes: everything a conversion needs, in one YAML document; flags are laid over it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from converters.finetune.options import FinetuneOptions
from converters.importing.origin import Origin, SourceFormat
from converters.metrics import Metric
from edgeops import yamldoc
from edgeops.contracts.manifest import Card, Task
from edgeops.contracts.preprocess import ColorOrder, Step
from edgeops.contracts.scalars import Dim, Layout, Name, Precision, Ratio, Runtime, Version
from edgeops.errors import UsageError

DEFAULT_SAMPLES: Final = 100
DEFAULT_MAX_DROP: Final = 0.01

CalibrationChoice = Literal["auto", "minmax", "percentile", "mse", "entropy"]
"""How scales are chosen; ``auto`` takes what gives the least error, tensor by tensor."""

TensorEdge = Literal["float32", "int8", "uint8"]
"""Element type of inputs and outputs of integer TFLite files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeInput:
    """What the model's input expects.

    Attributes:
        layout: Axis order of the *ONNX* input; empty axes order for anything but images.
        color: Channel order of the samples in the data files.
        preprocess: Steps from a raw sample to the tensor.
    """

    layout: Layout = "none"
    color: ColorOrder = "rgb"
    preprocess: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationData:
    """Representative samples for choosing scales; labels are not used.

    Attributes:
        data: ``.npz``, folder of images, CSV or WAV folder.
        samples: How many are drawn.
        seed: Chooses which.
        method: How scales are chosen; ``auto`` tries and compares.
    """

    data: str
    samples: Annotated[int, Meta(ge=1, le=10_000)] = DEFAULT_SAMPLES
    seed: Annotated[int, Meta(ge=0)] = 1
    method: CalibrationChoice = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationData:
    """Data that every variant is judged on.

    Attributes:
        data: ``.npz``, folder of images, CSV or WAV folder, with labels.
        metric: ``None`` takes what fits the task.
        max_drop: Largest accepted loss of the metric against the float original, 0-1.
        slices: Columns of the data that the metric is split by in the report.
    """

    data: str
    metric: Metric | None = None
    max_drop: Ratio = DEFAULT_MAX_DROP
    slices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Channels removed before quantizing: a share, or by default as many as the budget allows.

    Attributes:
        ratio: Share of the channels to remove.
        max_drop: Without a ratio: largest accepted loss of the metric, by default that of
            ``evaluation``.
    """

    ratio: Annotated[float, Meta(gt=0.0, le=0.9)] | None = None
    max_drop: Ratio | None = None

    def __post_init__(self) -> None:
        if self.ratio is not None and self.max_drop is not None:
            raise ValueError("Expected ratio or max_drop, not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One model file to make.

    Attributes:
        runtime: What runs the file.
        precision: Numbers that it calculates with.
    """

    runtime: Runtime
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything a conversion needs.

    Attributes:
        model: Path of the float model, relative to the recipe's folder; for PyTorch also
            ``module:factory``.
        format: What the model file is. By default its suffix tells, for those that can be read
            without running code from the file.
        name: Name of the bundle.
        version: Semantic version.
        task: What the outputs mean.
        serial: Whole number that only grows from release to release of a name.
        input: What the model's input expects.
        calibration: Samples for choosing int8 scales.
        evaluation: Data and budget that every variant is judged by.
        outputs: Model files to make; a device takes the first that it can run. Without any,
            what the target takes: int8 where there are calibration data, and float32.
        card: Model card.
        raw: Data files hold tensors: pre-processing has been done.
        shapes: Input shapes by name, where the model leaves more than the batch open.
        target: Profile or board that the files are for; see the targets' page.
        activations: Integer type of activations in ONNX int8 files, if not the target's.
        io: Element type of inputs and outputs of TFLite int8 files, if not the target's.
        keep_float: Names of layers that stay float in int8 files.
        scales_from: Bundle of an earlier release whose scales are kept where they still fit,
            which makes the update that devices download small.
        prune: Removes channels before quantizing.
        finetune: Trains the (pruned) model on the original's answers to the calibration samples,
            without labels; needs the extra ``finetune``.
    """

    model: str
    name: Name
    version: Version
    task: Task
    format: SourceFormat | None = None
    serial: Annotated[int, Meta(ge=1)] = 1
    input: RecipeInput = field(default_factory=RecipeInput)
    calibration: CalibrationData | None = None
    evaluation: EvaluationData | None = None
    outputs: tuple[Output, ...] = ()
    card: Card = field(default_factory=Card)
    raw: bool = False
    shapes: dict[str, tuple[Dim, ...]] = field(default_factory=dict)
    target: str | None = None
    activations: Literal["uint8", "int8"] | None = None
    io: TensorEdge | None = None
    keep_float: tuple[str, ...] = ()
    scales_from: str | None = None
    prune: Pruning | None = None
    finetune: FinetuneOptions | None = None

    def __post_init__(self) -> None:
        if Output(runtime="onnx", precision="int16x8") in self.outputs:
            raise ValueError("Expected another precision for onnx: int16x8 is for tflite alone")
        kinds = [(output.runtime, output.precision) for output in self.outputs]
        if len(set(kinds)) != len(kinds):
            raise ValueError("Expected outputs that differ in runtime or precision")


@dataclass(frozen=True, slots=True)
class LoadedRecipe:
    """A recipe and the folder that its paths start from.

    Attributes:
        origin: The recipe's model, if it is open already: an exporter need not run twice.
    """

    recipe: Recipe
    folder: Path
    origin: Origin | None = None

    def path(self, name: str) -> Path:
        """Return the path that ``name`` means."""
        return self.folder / name


def load_recipe(path: Path | None, overrides: Mapping[str, str]) -> LoadedRecipe:
    """Return the recipe at ``path`` with ``overrides`` (dotted key -> YAML text) laid over it.

    Without a file the overrides are the whole recipe, and paths start from the working
    folder.

    Raises:
        StorageError: The file cannot be read.
        FaultyDocumentError: Anything is wrong with it; all faults are listed.
        UsageError: There is neither a file nor enough flags.
    """
    if path is not None:
        recipe = yamldoc.load(path, Recipe, overrides=overrides)
        _require_unicode(recipe)
        return LoadedRecipe(recipe, path.parent)
    missing = [key for key in ("model", "name", "version", "task") if key not in overrides]
    if missing:
        raise UsageError(f"without --recipe, the {' and '.join(missing)} must be given by flags")
    recipe = yamldoc.parse(b"", Recipe, name="flags", overrides=overrides)
    _require_unicode(recipe)
    return LoadedRecipe(recipe, Path())


def _require_unicode(recipe: Recipe) -> None:
    """Refuse names of files that manifest and report could not hold."""
    data = [stated.data for stated in (recipe.calibration, recipe.evaluation) if stated]
    for name in (recipe.model, *data, recipe.scales_from or ""):
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise UsageError(f"{name!r} is no UTF-8 text: rename the file")
