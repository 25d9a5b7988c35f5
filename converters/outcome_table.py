"""A conversion's outcome as a table for people."""

from collections.abc import Sequence

from converters.outcome import Conversion, JudgedVariant

_HEAD = ("", "variant", "size", "drop", "p50 ms", "int8 share", "partitions", "metrics")
_FASTEST = "*"


def table(done: Conversion, *, aligned: bool) -> str:
    """Return the variants, one in a line, and below them original, verdict and bundle.

    Args:
        done: The outcome.
        aligned: For people; programs take cells separated by tabs.
    """
    rows = [_HEAD, *(_row(variant, done.fastest) for variant in done.variants)]
    lines = _aligned(rows) if aligned else ["\t".join(row) for row in rows]
    if done.fastest is not None:
        lines.append(f"{_FASTEST} fastest here, within the budget")
    lines += [
        f"{variant.id}: the tensors need an arena of at least {variant.arena_bytes / 1000:.1f} kB"
        for variant in done.variants
        if variant.arena_bytes is not None
    ]
    baseline = _figures(done.baseline)
    lines += [f"float original: {baseline or 'not judged'}", f"verdict: {done.verdict}"]
    if done.bundle is not None:
        lines.append(f"bundle: {done.bundle} {done.digest}")
    if done.report is not None:
        lines.append(f"report: {done.report}")
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def remarks(done: Conversion) -> list[str]:
    """Return what a person should read beside the table, one sentence or table row a line."""
    lines = [f"warning: {warning}" for warning in done.warnings]
    lines += [f"{done.verdict}: {sentence}" for sentence in done.concessions]
    nodes = dict.fromkeys(node for refusal in done.refusals for node in refusal.nodes)
    lines += [
        f"  {node.node} ({node.operator}): {node.reason}"
        + (f" - {node.suggestion}" if node.suggestion else "")
        for node in nodes  # one that is in the way of several files is said once
    ]
    return lines


def _row(variant: JudgedVariant, fastest: str | None) -> tuple[str, ...]:
    made = variant.made
    return (
        _FASTEST if variant.id == fastest else "",
        f"{made.output.runtime} {made.output.precision}",
        f"{variant.size_bytes / 1000:.1f} kB",
        "" if variant.drop is None else f"{variant.drop:+.4f}",
        f"{variant.latency_ms.get('p50', 0):.3f}",
        f"{made.quantized_macs:.0%}",
        "" if variant.partitions is None else str(variant.partitions),
        _figures(variant.metrics),
    )


def _figures(metrics: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.4f}" for name, value in metrics.items())
