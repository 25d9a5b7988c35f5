"""A judgement as lines for people, tables separated by tabs."""

from collections.abc import Sequence

from converters.assessment import Group
from converters.benchmark import ModelFile
from converters.judging import Judgement


def lines(found: Judgement) -> list[str]:
    """Return figures, comparison, classes, slices and confusion matrix."""
    assessment = found.assessment
    text = [f"{assessment.samples} samples, {_name(found.file)}"]
    for name, item in sorted(assessment.figures.items()):
        mark = " *" if name == assessment.metric else ""
        text.append(f"{name}{mark}\t{item.value:.4f}{_range(item.low, item.high)}")
    if found.comparison is not None and found.other is not None:
        drop = found.comparison.drop
        changed = found.comparison.changed
        tail = "" if changed is None else f", {changed:.1%} of the answers changed"
        moves = "grows, relatively," if assessment.metric == "mse" else "drops"
        text.append(
            f"against {_name(found.other)}: {assessment.metric} {moves} by {drop.value:+.4f}"
            f"{_range(drop.low, drop.high)}{tail}"
        )
        text += [harm.sentence(_name(found.file)) for harm in found.comparison.harms]
    for groups in (assessment.classes, assessment.slices):
        text += _table(groups)
    if assessment.confusion is not None:
        labels = assessment.confusion.labels
        text.append("\t".join(["truth \\ answer", *labels]))
        for label, row in zip(labels, assessment.confusion.counts, strict=True):
            text.append("\t".join([label, *(str(count) for count in row)]))
    return text


def _name(file: ModelFile) -> str:
    precision = f"{file.variant.precision} " if file.variant else ""
    return f"{file.runtime} {precision}({file.path.name})"


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.4f} to {high:.4f})"


def _table(groups: Sequence[Group]) -> list[str]:
    rows: list[str] = []
    column = ""
    for group in groups:
        if group.column != column:
            column = group.column
            rows.append("\t".join([column, "samples", *group.figures]))
        cells = [
            f"{item.value:.4f}{_range(item.low, item.high)}" for item in group.figures.values()
        ]
        rows.append("\t".join([group.value, str(group.samples), *cells]))
    return rows
