"""Judge a model on data: through the very pre- and post-processing that devices run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from converters.arrays import Array
from converters.datasets import Dataset
from converters.metrics import (
    Metric,
    Truth,
    agreement,
    default_metric,
    measure,
    per_class,
    summary,
)
from edgeops.contracts.manifest import InputSpec, Task, TensorSpec
from edgeops.contracts.preprocess import Step
from edgeops.contracts.result import Result
from edgeops.errors import UsageError
from edgeops.inference.model import Model

_TWO_CLASSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one model said about a data set, with the truth beside it."""

    results: tuple[Result, ...]
    truths: tuple[Truth, ...]
    slices: tuple[dict[str, str], ...]


def answer(model: Model, dataset: Dataset) -> Answers:
    """Return the model's answer to every sample; raises ``InferenceError``."""
    results: list[Result] = []
    truths: list[Truth] = []
    slices: list[dict[str, str]] = []
    for sample in dataset.all():
        results.append(model.predict(sample.data))
        truths.append(sample.truth)
        slices.append(sample.slices)
    return Answers(results=tuple(results), truths=tuple(truths), slices=tuple(slices))


def figures(
    task: Task, metric: Metric, answers: Answers, reference: Sequence[Result] | None
) -> dict[str, float]:
    """Return the deciding metric and all others that task and data allow.

    Args:
        task: The model's.
        metric: The deciding one; anything that forbids it is an error.
        answers: The model's.
        reference: The float original's answers, or ``None`` where there is none.

    Raises:
        UsageError: The deciding metric does not fit the task or the data.
    """
    results, truths = answers.results, answers.truths
    found = {metric: measure(metric, results, truths, reference or ())}
    labelled = all(truth.label or truth.objects for truth in truths)
    usual = default_metric(task, labelled=labelled)
    if usual not in found and (usual != "agreement" or reference):
        found[usual] = measure(usual, results, truths, reference or ())
    if reference and "agreement" not in found:
        found["agreement"] = agreement(results, reference)
    classes = task.type in {"classification", "keyword"}
    if classes and labelled and "f1" not in found:
        found["f1"] = measure("f1", results, truths, ())
    both = len({truth.label for truth in truths}) == _TWO_CLASSES
    if classes and labelled and both and len(task.labels) == _TWO_CLASSES and "auc" not in found:
        found["auc"] = measure("auc", results, truths, ())
    return summary({str(name): value for name, value in found.items()})


def class_figures(task: Task, answers: Answers) -> dict[str, dict[str, float]]:
    """Return figures per class where the task has classes and the data labels."""
    if task.type not in {"classification", "keyword"}:
        return {}
    if not all(truth.label for truth in answers.truths):
        return {}
    table = per_class(answers.results, answers.truths)
    return {label: summary(row) for label, row in table.items()}


def slice_figures(metric: Metric, answers: Answers, column: str) -> dict[str, dict[str, float]]:
    """Return the metric for each value of a column of the data.

    Raises:
        UsageError: The data has no such column.
    """
    known = sorted({name for row in answers.slices for name in row})
    if column not in known:
        raise UsageError(f"the data has no column {column!r}; it has {known or 'none'}")
    values = [row.get(column, "") for row in answers.slices]
    found: dict[str, dict[str, float]] = {}
    for value, count in sorted(Counter(values).items()):
        picked = [index for index, other in enumerate(values) if other == value]
        results = [answers.results[index] for index in picked]
        truths = [answers.truths[index] for index in picked]
        figure = measure(metric, results, truths, ())
        found[value] = {"samples": float(count), **summary({metric: figure})}
    return found


def input_spec(spec: InputSpec, tensor: TensorSpec, *, raw: bool) -> InputSpec:
    """Return what samples go through; raw data are tensors without their batch axis."""
    if not raw:
        return spec
    shape = tensor.shape[1:] or (1,)
    return InputSpec(
        name=spec.name,
        shape=spec.shape,
        layout=spec.layout,
        color=spec.color,
        preprocess=(Step(reshape=shape),),
    )


def is_windowed(spec: InputSpec) -> bool:
    """Whether pre-processing cuts a sample into windows."""
    return any(step.window is not None for step in spec.preprocess)


def stackable(samples: Sequence[Array]) -> list[int]:
    """Return the indices of the samples that have the first one's shape and type."""
    first = samples[0]
    return [
        index
        for index, sample in enumerate(samples)
        if sample.shape == first.shape and sample.dtype == first.dtype
    ]
