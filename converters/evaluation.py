"""Judge a model on data: through the very pre- and post-processing that devices run."""

from collections.abc import Sequence
from dataclasses import dataclass

from converters.datasets import Dataset
from converters.metrics import (
    Measure,
    Metric,
    Truth,
    default_metric,
    measure,
    summary,
)
from edgeops.contracts.manifest import InputSpec, Task, TensorSpec
from edgeops.contracts.preprocess import Step
from edgeops.contracts.result import Result
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
    for index, sample in enumerate(dataset.all()):
        with dataset.naming(index):
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
    results, truths, given = answers.results, answers.truths, reference or ()
    wanted = measures(task, metric, truths, has_reference=bool(given))
    return summary({name: measure(name, results, truths, given) for name in wanted})


def measures(
    task: Task, metric: Metric, truths: Sequence[Truth], *, has_reference: bool
) -> tuple[Measure, ...]:
    """Return the deciding metric, then all others that task and data allow.

    Args:
        task: The model's.
        metric: The deciding one.
        truths: Of the evaluation data.
        has_reference: Whether the float original's answers are known.
    """
    found: list[Measure] = [metric]
    labelled = all(truth.label or truth.objects for truth in truths)
    usual = default_metric(task, labelled=labelled)
    kinds = {truth.label for truth in truths}
    two = len(kinds) == _TWO_CLASSES and "" not in kinds
    if usual != "agreement" and (usual != "auc" or two):
        found.append(usual)
    if has_reference:
        found.append("agreement")
        if task.type in {"anomaly", "regression"}:
            found.append("rank")
    classes = task.type in {"classification", "keyword"}
    if classes and labelled:
        found += ["top1", "f1", "precision", "recall"]
    if two and (task.type == "anomaly" or (classes and len(task.labels) == _TWO_CLASSES)):
        found += ["auc", "average_precision"]
    return tuple(dict.fromkeys(found))


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
