"""Judge one finished model file on a data set."""

from dataclasses import replace
from pathlib import Path

from converters.assessment import Assessment, assess
from converters.benchmark import ModelFile
from converters.datasets import open_dataset
from converters.evaluation import answer, input_spec, is_windowed
from converters.metrics import Metric, default_metric
from converters.recipe import load_recipe
from edgeops.bundle import Bundle
from edgeops.contracts.manifest import InputSpec, Task, TensorSpec
from edgeops.contracts.scalars import Layout
from edgeops.errors import UsageError
from edgeops.inference.model import Model
from edgeops.inference.runtimes.loading import open_model
from edgeops.inference.runtimes.runtime import RuntimeModel

_IMAGE_RANK = 4


def judge(
    file: ModelFile,
    bundle: Bundle | None,
    *,
    recipe: Path | None,
    data: Path,
    metric: Metric | None,
    column: str | None,
    raw: bool,
) -> dict[str, object]:
    """Return samples, variant, metrics, figures per class and per slice.

    Args:
        file: The model file.
        bundle: Where it comes from; ``None`` for a bare file, which needs ``recipe``.
        recipe: Task and pre-processing of a bare file.
        data: Labelled data.
        metric: The deciding one; by default what fits the task.
        column: Column of the data to split by.
        raw: The data are tensors.

    Raises:
        UsageError: The data have no labels, or task and pre-processing are not known.
        InferenceError: The model does not run here, or not on these data.
    """
    model_file = open_model(file.path, file.runtime)
    try:
        task, spec, inputs = _contract(file, bundle, recipe, model_file)
        dataset = open_dataset(data, task, color=spec.color, windowed=is_windowed(spec))
        if not dataset.labelled:
            raise UsageError(f"{data} has no labels to judge by")
        chosen = metric or default_metric(task, labelled=True)
        model = Model(
            model_file, task=task, spec=input_spec(spec, inputs[0], raw=raw), inputs=inputs
        )
        answers = answer(model, dataset)
    finally:
        model_file.close()
    found = assess(task, chosen, answers, None, (column,) if column else ())
    return {
        "samples": dataset.size,
        "variant": file.record(),
        **record_of(found),
    }


def record_of(found: Assessment) -> dict[str, object]:
    """Return figures, classes, slices and confusion matrix as the command line prints them."""
    matrix = found.confusion
    return {
        "metric": found.metric,
        "metrics": {name: item.value for name, item in sorted(found.figures.items())},
        "intervals": {
            name: [item.low, item.high]
            for name, item in sorted(found.figures.items())
            if item.low is not None
        },
        "per_class": {group.value: group.numbers() for group in found.classes},
        "slices": {group.value: group.numbers() for group in found.slices},
        "confusion": (
            None
            if matrix is None
            else {"labels": list(matrix.labels), "counts": [list(row) for row in matrix.counts]}
        ),
    }


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
