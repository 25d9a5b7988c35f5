"""Latencies that devices measured, added to a report that exists."""

from dataclasses import dataclass, replace
from pathlib import Path

from converters.report.contents import BoardLatency, Report
from edgeops import codec
from edgeops.contracts.scalars import Precision, Runtime
from edgeops.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVariant:
    """Which file was timed."""

    runtime: Runtime
    precision: Precision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Milliseconds per inference."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What ``edgeops benchmark --json`` prints, as far as a report shows it."""

    variant: MeasuredVariant
    latency_ms: Percentiles


def read_measurement(text: str) -> BoardLatency:
    """Return one board's latency from ``BOARD=FILE``, a file that ``benchmark --json`` wrote.

    Raises:
        UsageError: The text has another form, or the file is of a model in no bundle.
        StorageError: The file cannot be read.
        ContractError: It is no such document.
    """
    board, _, name = text.partition("=")
    if not board or not name:
        raise UsageError(f"{text!r} is not BOARD=FILE")
    found = codec.read(Path(name), Measurement, where=name)
    if found.variant.precision is None:
        raise UsageError(f"{name} timed a bare model file: time the bundle, to know its precision")
    return BoardLatency(
        board=board,
        variant=f"{found.variant.runtime}-{found.variant.precision}",
        p50_ms=found.latency_ms.p50,
        p95_ms=found.latency_ms.p95,
    )


def with_boards(report: Report, rows: list[BoardLatency]) -> Report:
    """Return the report with ``rows`` in place of older ones of the same board and variant.

    Raises:
        UsageError: A row is about a variant that the report does not have.
    """
    known = {variant.id for variant in report.variants}
    for row in rows:
        if row.variant not in known:
            raise UsageError(f"{row.board} timed {row.variant}, the report has {sorted(known)}")
    merged = {(row.board, row.variant): row for row in (*report.boards, *rows)}
    return replace(report, boards=tuple(merged[key] for key in sorted(merged)))
