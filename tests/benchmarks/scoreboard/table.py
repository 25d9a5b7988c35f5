"""The scoreboard as Markdown: goals and whether they were reached, files, latency."""

from collections.abc import Iterable, Sequence

from tests.benchmarks.scoreboard.board import File, Row

MEGA = 1e6


def markdown(rows: Sequence[Row]) -> str:
    """Return all tables."""
    parts = [
        "## Goals",
        _table(
            ["model", "verdict", "float", "tflite int8", "onnx int8", "at least", "size",
             "at most", "seconds", "at most", "peak MB", "reached"],
            (_goal(row) for row in rows),
        ),
        "## Every file",
        "Latency: milliseconds per inference, one thread, files of a model taking turns;"
        " the least of 25 rounds' medians.",
        _table(
            ["model", "file", "figure", "size kB", "ms", "kept float"],
            (line for row in rows for line in _files(row)),
        ),
    ]  # fmt: skip
    notes = [f"- {row.case.name}: {row.case.note}" for row in rows if row.case.note]
    if notes:
        parts += ["## Notes", "\n".join(notes)]
    refused = [f"- {row.case.name}: {reason}" for row in rows for reason in row.refused]
    if refused:
        parts += ["## What peers refused", "\n".join(refused)]
    return "\n\n".join(parts) + "\n"


def reached(row: Row) -> bool:
    """Whether every goal of a case is met by both int8 files."""
    return not _missed(row)


def _missed(row: Row) -> list[str]:
    case = row.case
    files = [_file(row, f"{runtime} int8") for runtime in ("tflite", "onnx")]
    missed: list[str] = []
    for file in files:
        if file is None:
            missed.append("no int8")
            continue
        if file.figure.value < case.floor(row.original.value) - 1e-9:
            missed.append(f"{file.runtime} figure")
        if (file.figure.precision or 1.0) < case.precision_goal:
            missed.append(f"{file.runtime} precision")
    limit = row.size_limit
    tflite = files[0]
    if limit and tflite is not None and tflite.size_bytes > limit:
        missed.append("size")
    reference = row.latency_ms.get("reference int8")
    if reference and row.latency_ms.get("tflite int8", 0.0) > 1.05 * reference:
        missed.append("latency")
    if row.seconds > case.seconds_goal:
        missed.append("seconds")
    return missed


def _file(row: Row, label: str) -> File | None:
    return next((file for file in (*row.ours, *row.others) if file.label == label), None)


def _goal(row: Row) -> list[str]:
    case = row.case
    if not row.ours:
        return [case.name, row.verdict, *[""] * 9, "no"]
    tflite, onnx = _file(row, "tflite int8"), _file(row, "onnx int8")
    floor = case.floor(row.original.value)
    limit = row.size_limit
    goal = f"{floor:.3f}/{case.precision_goal:.2f}" if case.precision_goal else f"{floor:.4f}"
    missed = _missed(row)
    return [
        case.name,
        row.verdict,
        row.original.text(case.kind),
        "" if tflite is None else tflite.figure.text(case.kind),
        "" if onnx is None else onnx.figure.text(case.kind),
        goal,
        "" if tflite is None else f"{tflite.size_bytes / 1000:.1f}",
        f"{limit / 1000:.1f}" if limit else "",
        f"{row.seconds:.1f}",
        f"{case.seconds_goal:.0f}",
        f"{row.peak_rss_bytes / MEGA:.0f}",
        "yes" if not missed else "no: " + ", ".join(missed),
    ]


def _files(row: Row) -> Iterable[list[str]]:
    for file in (*row.ours, *row.others):
        yield [
            row.case.name,
            file.label,
            file.figure.text(row.case.kind),
            f"{file.size_bytes / 1000:.1f}",
            f"{row.latency_ms.get(file.label, 0.0):.4f}",
            str(file.kept_float) if file.kept_float else "",
        ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
