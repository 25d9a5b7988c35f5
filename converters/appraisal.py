"""Judge all variants of a conversion in depth, once; manifest, warnings and report read it."""

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
    """

    original: Assessment | None = None
    variants: dict[Output, Appraised] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each class or slice that a variant hurts more than the rest."""
        return tuple(
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
    return Appraisal(original=assess(task, metric, before, before.results, columns), variants=found)


def _appraise(
    task: Task, metric: Metric, before: Answers, after: Answers, columns: Sequence[str]
) -> Appraised:
    return Appraised(
        assessment=assess(task, metric, after, before.results, columns),
        comparison=compare(metric, before, after, columns),
    )
