"""Judge answers in depth: figures with intervals, by class and by slice, and pair by pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from converters import metrics
from converters.detections import found_objects
from converters.disparity import Harm, find_harm, units
from converters.evaluation import Answers, measures
from converters.intervals import (
    Interval,
    bootstrap,
    paired_difference,
    spread,
    wilson,
)
from converters.metrics import Measure, Metric, Truth
from converters.resampling import estimator
from edgeops.contracts.manifest import Task
from edgeops.contracts.result import Result
from edgeops.errors import UsageError

MAX_VALUES: Final = 100
"""A column with more different values is no slice: every group would be a handful of samples."""

MAX_CONFUSION: Final = 40
"""Classes beyond this are no readable table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its 95 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def numbers(self, name: str) -> dict[str, float]:
        """Return ``name``, ``name_low`` and ``name_high`` for flat documents."""
        found = {name: self.value}
        if self.low is not None and self.high is not None:
            found |= {f"{name}_low": self.low, f"{name}_high": self.high}
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A class, or the samples with one value in a column of the data.

    Attributes:
        samples: How many; labelled objects for the classes of a detector.
        figures: By name; empty where none is defined for so few samples.
    """

    column: str
    value: str
    samples: int
    figures: dict[str, Figure]

    def numbers(self) -> dict[str, float]:
        """Return size, figures and their intervals as one flat table row."""
        row = {"samples": float(self.samples)}
        for name, item in sorted(self.figures.items()):
            row |= item.numbers(name)
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often each true label (row) was answered by each label (column)."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """All that is known of one model file on one data set."""

    samples: int
    metric: Metric
    figures: dict[str, Figure]
    classes: tuple[Group, ...]
    slices: tuple[Group, ...]
    confusion: Confusion | None = None

    def numbers(self) -> dict[str, float]:
        """Return all figures and their intervals as one flat mapping."""
        row: dict[str, float] = {}
        for name, item in sorted(self.figures.items()):
            row |= item.numbers(name)
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A variant against the float original, sample by sample.

    Attributes:
        drop: What the budget is held against, see ``metrics.loss``, with its paired interval.
        changed: Share of answers whose label changed; ``None`` for answers without labels.
        harms: Groups that lose more than the rest.
    """

    drop: Figure
    changed: float | None = None
    harms: tuple[Harm, ...]


def assess(
    task: Task,
    metric: Metric,
    answers: Answers,
    reference: Sequence[Result] | None,
    columns: Sequence[str] = (),
) -> Assessment:
    """Return every figure that task and data allow.

    Args:
        task: The model's.
        metric: The deciding one.
        answers: The model's.
        reference: The float original's answers, if there are any.
        columns: Columns of the data to split by.

    Raises:
        UsageError: The deciding metric does not fit, or the data have no such column.
    """
    given = reference or ()
    wanted = measures(task, metric, answers.truths, has_reference=bool(given))
    return Assessment(
        samples=len(answers.results),
        metric=metric,
        figures={name: figure(name, answers.results, answers.truths, given) for name in wanted},
        classes=_classes(task, answers, given),
        slices=_slices(metric, answers, given, columns),
        confusion=_confusion(task, answers),
    )


def figure(
    metric: Measure,
    results: Sequence[Result],
    truths: Sequence[Truth],
    reference: Sequence[Result],
) -> Figure:
    """Return one figure with its interval: Wilson's for shares of samples, else resampled.

    Raises:
        UsageError: The metric does not fit the data.
    """
    value = metrics.measure(metric, results, truths, reference)
    if _is_share(metric, results):
        return _figure(value, wilson(value * len(results), len(results)))
    estimate = estimator(metric, results, truths, reference)
    if estimate is None:
        return _figure(value, None)
    return _figure(value, spread(bootstrap([estimate], len(results))[0]))


def _is_share(metric: Measure, results: Sequence[Result]) -> bool:
    """Whether the figure counts samples that are right or wrong, each for itself."""
    classes = results[0].task not in {"detection", "anomaly", "regression"}
    return metric == "top1" or (metric == "agreement" and classes)


def _figure(value: float, interval: Interval | None) -> Figure:
    if interval is None:
        return Figure(value=round(value, 6))
    return Figure(value=round(value, 6), low=round(interval.low, 6), high=round(interval.high, 6))


def columns_of(answers: Answers, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the value of every sample in each named column.

    Raises:
        UsageError: There is no such column, or it has too many different values.
    """
    known = sorted({name for row in answers.slices for name in row})
    found: dict[str, list[str]] = {}
    for name in names:
        if name not in known:
            raise UsageError(f"the data has no column {name!r}; it has {known or 'none'}")
        found[name] = [row.get(name, "") for row in answers.slices]
        if (count := len(set(found[name]))) > MAX_VALUES:
            raise UsageError(
                f"column {name!r} has {count} different values, at most {MAX_VALUES} are compared"
            )
    return found


def _slices(
    metric: Metric, answers: Answers, reference: Sequence[Result], columns: Sequence[str]
) -> tuple[Group, ...]:
    groups: list[Group] = []
    for column, values in columns_of(answers, columns).items():
        for value, count in sorted(Counter(values).items()):
            inside = [index for index, other in enumerate(values) if other == value]
            results = [answers.results[index] for index in inside]
            truths = [answers.truths[index] for index in inside]
            before = [reference[index] for index in inside] if reference else []
            try:
                figures = {str(metric): figure(metric, results, truths, before)}
            except UsageError:  # such as an area under the curve of one kind of samples
                figures = {}
            groups.append(Group(column=column, value=value, samples=count, figures=figures))
    return tuple(groups)


def _classes(task: Task, answers: Answers, reference: Sequence[Result]) -> tuple[Group, ...]:
    if task.type == "detection":
        return _object_classes(answers, reference)
    if task.type not in {"classification", "keyword"}:
        return ()
    if all(truth.label for truth in answers.truths):
        table = metrics.per_class(answers.results, answers.truths)
        return tuple(
            Group(
                column="class",
                value=label,
                samples=int(row["samples"]),
                figures={
                    "precision": _figure(row["precision"], None),
                    "recall": _figure(
                        row["recall"], wilson(row["recall"] * row["samples"], row["samples"])
                    ),
                    "f1": _figure(row["f1"], None),
                },
            )
            for label, row in table.items()
            if row["samples"]  # of a class that is only answered, nothing can be found
        )
    pairs = [
        (want.label, have.label) for want, have in zip(reference, answers.results, strict=False)
    ]
    return _shares("agreement", [(want, have == want) for want, have in pairs])


def _object_classes(answers: Answers, reference: Sequence[Result]) -> tuple[Group, ...]:
    """Return how many labelled objects are found; of the original's where none is labelled."""
    wanted = [truth.objects for truth in answers.truths]
    if not any(wanted):
        its = found_objects(answers.results, [result.objects for result in reference])
        return _shares("agreement", [(label, hit) for _, label, hit in its]) if reference else ()
    rows = found_objects(answers.results, wanted)
    precision = metrics.class_precisions(answers.results, answers.truths)
    return tuple(
        Group(
            column=group.column,
            value=group.value,
            samples=group.samples,
            figures={**group.figures, "average_precision": _figure(precision[group.value], None)},
        )
        for group in _shares("recall", [(label, hit) for _, label, hit in rows])
    )


def _shares(name: str, rows: Sequence[tuple[str, bool]]) -> tuple[Group, ...]:
    """Return for each label the share of its rows that are true."""
    totals = Counter(label for label, _ in rows)
    hits = Counter(label for label, hit in rows if hit)
    return tuple(
        Group(
            column="class",
            value=label,
            samples=total,
            figures={name: _figure(hits[label] / total, wilson(hits[label], total))},
        )
        for label, total in sorted(totals.items())
    )


def _confusion(task: Task, answers: Answers) -> Confusion | None:
    if task.type in {"detection", "regression", "segmentation"}:
        return None
    said = [result.label for result in answers.results]
    true = [truth.label for truth in answers.truths]
    if not all(said) or not all(true):
        return None
    used = {*said, *true}
    labels = [label for label in task.labels if label in used]
    labels += sorted(used - set(labels))
    if len(labels) > MAX_CONFUSION:
        return None
    return Confusion(
        labels=tuple(labels), counts=metrics.confusion(answers.results, answers.truths, labels)
    )


def compare(
    metric: Metric, before: Answers, after: Answers, columns: Sequence[str] = ()
) -> Comparison:
    """Return how a variant differs from the float original on the same samples.

    Raises:
        UsageError: The metric does not fit the data, or there is no such column.
    """
    split: Mapping[str, Sequence[str]] = columns_of(after, columns)
    judged = units(before.results, after.results, after.truths, split)
    changed: float | None = None
    if all(result.label for result in (*before.results, *after.results)):
        pairs = zip(before.results, after.results, strict=True)
        changed = round(sum(a.label != b.label for a, b in pairs) / len(after.results), 6)
    return Comparison(
        drop=_drop(metric, before, after),
        changed=changed,
        harms=() if judged is None else find_harm(judged),
    )


def _drop(metric: Metric, before: Answers, after: Answers) -> Figure:
    old = metrics.measure(metric, before.results, before.truths, before.results)
    new = metrics.measure(metric, after.results, after.truths, before.results)
    drop = metrics.loss(metric, old, new)
    if _is_share(metric, after.results):
        truth = [t.label for t in after.truths]
        if metric == "agreement":
            truth = [result.label for result in before.results]
        pairs = list(zip(truth, before.results, after.results, strict=True))
        lost = sum(a.label == t != b.label for t, a, b in pairs)
        gained = sum(b.label == t != a.label for t, a, b in pairs)
        return _figure(drop, paired_difference(lost, gained, len(pairs)))
    first = estimator(metric, before.results, before.truths, before.results)
    second = estimator(metric, after.results, after.truths, before.results)
    if first is None or second is None:
        return _figure(drop, None)
    rows = bootstrap([first, second], len(after.results))
    return _figure(drop, spread(metrics.losses(metric, rows[0], rows[1])))
