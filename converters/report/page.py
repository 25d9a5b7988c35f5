"""Draw a report as one HTML page that needs no network and no script."""

from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from converters.assessment import Confusion, Group
from converters.report import plots, words
from converters.report.contents import Report, VariantReport

TEMPLATE: Final = "page.html.j2"

MAX_CLASSES: Final = 40
"""Classes drawn and listed: the worst ones, where there are more."""

MAX_ROWS: Final = 60
"""Layers listed in a table; the chart shows all."""

_TIMED: Final = 2


def render(report: Report) -> str:
    """Return the page; every text of the report is escaped."""
    chosen = words.chosen(report)
    quantized = report.quantization
    worst = sorted(
        (row for row in (quantized.layers if quantized else ()) if row.sqnr_db is not None),
        key=lambda row: (row.sqnr_db or 0.0, row.tensor),
    )
    return _template().render(
        report=report,
        chosen=chosen,
        words=words,
        title=words.verdict_title(report),
        headline=words.headline(report),
        original_figure=_deciding(report, report.original),
        chosen_figure=None if chosen is None else _deciding(report, chosen),
        size_plot=_sizes(report),
        latency_plot=_latencies(report),
        accuracy_plot=_accuracies(report),
        class_plot=_classes(report, chosen),
        slice_plots=_slices(report, chosen),
        confusions=_confusions(report, chosen),
        layer_plot=_layers(report),
        board_plot=_boards(report),
        worst_layers=worst[:10],
        class_rows=_class_rows(report, chosen),
        max_rows=MAX_ROWS,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)


def _deciding(report: Report, variant: VariantReport) -> str:
    """Return the deciding figure of a variant as text; empty where it was not judged."""
    if variant.assessment is None:
        return ""
    return words.figure_text(report.metric, variant.assessment.figures[report.metric].value)


def _all(report: Report) -> list[tuple[str, VariantReport]]:
    """Return the float original and all variants, with the label of their rows."""
    return [("float original", report.original), *((v.id, v) for v in report.variants)]


def _sizes(report: Report) -> Markup:
    rows = [
        plots.Bar(
            label, v.size_bytes, words.size_text(v.size_bytes), strong=v is not report.original
        )
        for label, v in _all(report)
    ]
    return plots.bars("Size of each file", rows)


def _latencies(report: Report) -> Markup | None:
    rows = [
        plots.Bar(label, v.latency_ms["p50"], words.time_text(v.latency_ms["p50"]), v.fastest)
        for label, v in _all(report)
        if "p50" in v.latency_ms
    ]
    return plots.bars("Median latency of each file", rows) if len(rows) >= _TIMED else None


def _accuracies(report: Report) -> Markup | None:
    rows = []
    for label, variant in _all(report):
        if variant.assessment is None:
            continue
        figure = variant.assessment.figures[report.metric]
        text = words.figure_text(report.metric, figure.value)
        interval = words.interval_text(report.metric, figure)
        rows.append(
            plots.Span(
                label=label,
                value=figure.value,
                low=figure.low,
                high=figure.high,
                text=f"{label}: {text}" + (f", 95 % from {interval}" if interval else ""),
                strong=variant is not report.original,
            )
        )
    if not rows:
        return None
    base = rows[0].value
    limit = base * (1 + report.budget) if report.metric == "mse" else base - report.budget
    title = f"{words.metric_name(report.metric)} with 95 % intervals"
    return plots.spans(title, rows, limit, percent=report.metric not in {"mse", "rank"})


def _main_figure(group: Group) -> str:
    """Return the figure that a class or slice is compared by."""
    for name in ("recall", "agreement"):
        if name in group.figures:
            return name
    return next(iter(group.figures), "")


def _pairs(
    before: tuple[Group, ...], after: tuple[Group, ...], alarming: set[tuple[str, str]]
) -> list[plots.Pair]:
    known = {(group.column, group.value): group for group in before}
    rows = []
    for group in after:
        other = known.get((group.column, group.value))
        name = _main_figure(group)
        if other is None or name not in other.figures:
            continue
        rows.append(
            plots.Pair(
                label=group.value or "(empty)",
                before=other.figures[name].value,
                after=group.figures[name].value,
                alarming=(group.column, group.value) in alarming,
            )
        )
    return rows


def _harmed(variant: VariantReport) -> set[tuple[str, str]]:
    if variant.comparison is None:
        return set()
    return {(harm.column, harm.value) for harm in variant.comparison.harms}


def _classes(report: Report, chosen: VariantReport | None) -> Markup | None:
    if chosen is None or chosen.assessment is None or report.original.assessment is None:
        return None
    rows = _pairs(report.original.assessment.classes, chosen.assessment.classes, _harmed(chosen))
    rows.sort(key=lambda row: row.after - row.before)
    return plots.dumbbells("Each class before and after", rows[:MAX_CLASSES]) if rows else None


def _slices(report: Report, chosen: VariantReport | None) -> list[tuple[str, Markup]]:
    """Return a plot for each column that the data were split by; none for ``mse``."""
    if chosen is None or chosen.assessment is None or report.original.assessment is None:
        return []
    if report.metric == "mse":
        return []
    before, after = report.original.assessment.slices, chosen.assessment.slices
    columns = dict.fromkeys(group.column for group in after)
    found = []
    for column in columns:
        rows = _pairs(
            tuple(group for group in before if group.column == column),
            tuple(group for group in after if group.column == column),
            _harmed(chosen),
        )
        if rows:
            found.append((column, plots.dumbbells(f"By {column}", rows[:MAX_CLASSES])))
    return found


def _class_rows(report: Report, chosen: VariantReport | None) -> list[tuple[Group, Group | None]]:
    """Return the classes of the variant with those of the original, hardest hit first."""
    if chosen is None or chosen.assessment is None or report.original.assessment is None:
        return []
    known = {group.value: group for group in report.original.assessment.classes}
    rows = [(group, known.get(group.value)) for group in chosen.assessment.classes]

    def change(row: tuple[Group, Group | None]) -> float:
        group, other = row
        name = _main_figure(group)
        if other is None or name not in other.figures:
            return 0.0
        return group.figures[name].value - other.figures[name].value

    return sorted(rows, key=lambda row: (change(row), row[0].value))[:MAX_CLASSES]


def _confusions(report: Report, chosen: VariantReport | None) -> list[tuple[str, Markup]]:
    found = []
    for label, variant in (("float original", report.original), ("", chosen)):
        if variant is None or variant.assessment is None:
            continue
        matrix: Confusion | None = variant.assessment.confusion
        if matrix is not None:
            name = label or variant.id
            title = f"Confusion matrix of {name}"
            found.append((name, plots.heat_map(title, matrix.labels, matrix.counts)))
    return found


def _layers(report: Report) -> Markup | None:
    if report.quantization is None or not report.quantization.layers:
        return None
    rows = [(f"{row.node} ({row.operator})", row.sqnr_db) for row in report.quantization.layers]
    return plots.layer_chart("Signal over quantization error at each layer, dB", rows)


def _boards(report: Report) -> Markup | None:
    rows = [
        plots.Bar(f"{row.board} {row.variant}", row.p50_ms, words.time_text(row.p50_ms))
        for row in report.boards
    ]
    return plots.bars("Median latency on devices", rows) if rows else None
