"""Judge all variants of a conversion in depth, once; manifest, warnings and report read it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from converters.assessment import Assessment, Comparison, assess, compare
from converters.evaluation import Answers
from converters.metrics import Metric
from converters.outcome import JudgedVariant
from converters.recipe import Output
from edgeops.contracts.manifest import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraised:
    """One variant on the evaluation data: by itself, and against the float original."""

    assessment: Assessment
    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """All variants on the evaluation data.

    Attributes:
        original: The float original; ``None`` where there are no data.
        variants: By output; empty where there are no data.
        doubts: Sentences about the float original itself.
    """

    original: Assessment | None = None
    variants: dict[Output, Appraised] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the doubts, and a sentence for each class or slice hurt more than the rest."""
        return self.doubts + tuple(
            harm.sentence(f"{output.runtime} {output.precision}")
            for output, found in self.variants.items()
            for harm in found.comparison.harms
        )


def appraise(
    task: Task,
    metric: Metric,
    original: JudgedVariant,
    variants: Sequence[JudgedVariant],
    columns: Sequence[str] = (),
) -> Appraisal:
    """Return figures with intervals, classes, slices and harm of every judged variant.

    Args:
        task: The model's.
        metric: The deciding one.
        original: The float original.
        variants: Those that were made.
        columns: Columns of the evaluation data to split by.

    Raises:
        UsageError: The data have no such column.
    """
    before = original.answers
    if before is None:
        return Appraisal()
    found = {
        judged.made.output: _appraise(task, metric, before, judged.answers, columns)
        for judged in variants
        if judged.answers is not None
    }
    return Appraisal(
        original=assess(task, metric, before, before.results, columns),
        variants=found,
        doubts=_doubts(task, before),
    )


def _doubts(task: Task, answers: Answers) -> tuple[str, ...]:
    """Return what speaks against labels or pre-processing: an original that only guesses.

    The share of right answers is held against that of the same answers in any other order
    (Cohen's kappa at or below zero), which also holds where one class is most of the data.
    """
    truths = Counter(truth.label for truth in answers.truths)
    if task.type not in {"classification", "keyword"} or "" in truths or len(truths) == 1:
        return ()
    said = Counter(result.label for result in answers.results)
    count = len(answers.truths)
    right = sum(
        result.label == truth.label
        for result, truth in zip(answers.results, answers.truths, strict=True)
    )
    if right * count > sum(number * said[label] for label, number in truths.items()):
        return ()
    return (
        f"the original is right on {right} of {count} samples, no more than by chance: are the "
        "labels in the model's order, and samples prepared as the model was trained?",
    )


def _appraise(
    task: Task, metric: Metric, before: Answers, after: Answers, columns: Sequence[str]
) -> Appraised:
    return Appraised(
        assessment=assess(task, metric, after, before.results, columns),
        comparison=compare(metric, before, after, columns),
    )
