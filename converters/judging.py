"""Judge one finished model file on a data set, alone or against another one."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from converters.assessment import Assessment, Comparison, assess, compare
from converters.benchmark import ModelFile
from converters.datasets import Dataset, open_dataset
from converters.evaluation import Answers, answer, input_spec, is_windowed
from converters.metrics import Metric, default_metric
from converters.recipe import load_recipe
from converters.sources import AnyPrecision, AnyRuntime, opened_source
from edgeops.bundle import Bundle
from edgeops.contracts.manifest import InputSpec, Task, TensorSpec
from edgeops.contracts.scalars import Layout
from edgeops.errors import UsageError
from edgeops.inference.model import Model
from edgeops.inference.runtimes.loading import open_model
from edgeops.inference.runtimes.runtime import RuntimeModel

_IMAGE_RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is judged: a bundle's variant, or a model file."""

    path: Path
    runtime: AnyRuntime = "auto"
    precision: AnyPrecision = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found.

    Attributes:
        file: What was judged.
        assessment: Its figures.
        other: What it was held against, if anything.
        other_assessment: Figures of that one.
        comparison: The difference, sample by sample; a loss is one of ``file``.
    """

    file: ModelFile
    assessment: Assessment
    other: ModelFile | None = None
    other_assessment: Assessment | None = None
    comparison: Comparison | None = None

    def record(self) -> dict[str, object]:
        """Return the judgement as the command line prints it."""
        found: dict[str, object] = {
            "samples": self.assessment.samples,
            "variant": self.file.record(),
            **_figures(self.assessment),
        }
        if self.other is None or self.comparison is None or self.other_assessment is None:
            return found
        drop = self.comparison.drop
        return {
            **found,
            "against": {
                "variant": self.other.record(),
                **_figures(self.other_assessment),
                "drop": drop.value,
                "drop_interval": _interval(drop.low, drop.high),
                "changed": self.comparison.changed,
                "hurt": [
                    {
                        "column": harm.column,
                        "value": harm.value,
                        "samples": harm.samples,
                        "before": harm.before,
                        "after": harm.after,
                        "rest_drop": harm.rest,
                        "chance": harm.chance,
                    }
                    for harm in self.comparison.harms
                ],
            },
        }


def _figures(found: Assessment) -> dict[str, object]:
    matrix = found.confusion
    slices: dict[str, dict[str, dict[str, float]]] = {}
    for group in found.slices:
        slices.setdefault(group.column, {})[group.value] = group.numbers()
    return {
        "metric": found.metric,
        "metrics": {name: item.value for name, item in sorted(found.figures.items())},
        "intervals": {
            name: _interval(item.low, item.high) for name, item in sorted(found.figures.items())
        },
        "per_class": {group.value: group.numbers() for group in found.classes},
        "slices": slices,
        "confusion": (
            None
            if matrix is None
            else {"labels": list(matrix.labels), "counts": [list(row) for row in matrix.counts]}
        ),
    }


def _interval(low: float | None, high: float | None) -> list[float] | None:
    return None if low is None or high is None else [low, high]


def judge(
    source: Source,
    *,
    data: Path,
    metric: Metric | None,
    columns: Sequence[str] = (),
    recipe: Path | None = None,
    raw: bool = False,
    against: Source | None = None,
) -> Judgement:
    """Return figures, classes and slices of a model, and how it differs from another one.

    Args:
        source: The model.
        data: Labelled data; unlabelled ones do where there is another model to agree with.
        metric: The deciding one; by default what fits the task.
        columns: Columns of the data to split by.
        recipe: Task and pre-processing of a bare model file.
        raw: The data are tensors.
        against: The model that the first one may replace.

    Raises:
        UsageError: The data have no labels, or task and pre-processing are not known.
        InferenceError: A model does not run here, or not on these data.
    """
    with ExitStack() as stack:
        file, bundle = stack.enter_context(
            opened_source(source.path, runtime=source.runtime, precision=source.precision)
        )
        task, dataset, given = _answers(file, bundle, recipe, data, raw=raw)
        if not dataset.labelled and against is None:
            raise UsageError(f"{data} has no labels to judge by")
        chosen = metric or default_metric(task, labelled=dataset.labelled)
        if against is None:
            return Judgement(file=file, assessment=assess(task, chosen, given, None, columns))
        other, its_bundle = stack.enter_context(
            opened_source(against.path, runtime=against.runtime, precision=against.precision)
        )
        its_task, _, before = _answers(other, its_bundle, recipe, data, raw=raw)
        if (its_task.type, its_task.labels) != (task.type, task.labels):
            raise UsageError(f"{against.path} answers another question than {source.path}")
        return Judgement(
            file=file,
            assessment=assess(task, chosen, given, before.results, columns),
            other=other,
            other_assessment=assess(task, chosen, before, before.results, columns),
            comparison=compare(chosen, before, given, columns),
        )


def _answers(
    file: ModelFile, bundle: Bundle | None, recipe: Path | None, data: Path, *, raw: bool
) -> tuple[Task, Dataset, Answers]:
    model_file = open_model(file.path, file.runtime)
    try:
        task, spec, inputs = _contract(file, bundle, recipe, model_file)
        dataset = open_dataset(data, task, color=spec.color, windowed=is_windowed(spec))
        model = Model(
            model_file, task=task, spec=input_spec(spec, inputs[0], raw=raw), inputs=inputs
        )
        return task, dataset, answer(model, dataset)
    finally:
        model_file.close()


def _contract(
    file: ModelFile, bundle: Bundle | None, recipe: Path | None, model: RuntimeModel
) -> tuple[Task, InputSpec, tuple[TensorSpec, ...]]:
    if bundle is not None and file.variant is not None:
        return bundle.manifest.task, bundle.manifest.inputs[0], file.variant.inputs
    if recipe is None:
        raise UsageError(f"{file.path.name} is no bundle: --recipe must say task and input")
    # The file's own place does not matter here, only what the recipe says of its input.
    stated = load_recipe(recipe, {}).recipe
    layout: Layout = "nhwc" if file.runtime == "tflite" else stated.input.layout
    inputs = tuple(
        replace(spec, layout=layout) if len(spec.shape) == _IMAGE_RANK else spec
        for spec in model.inputs
    )
    spec = InputSpec(
        name=inputs[0].name,
        layout=stated.input.layout,
        color=stated.input.color,
        preprocess=stated.input.preprocess,
    )
    return stated.task, spec, inputs
