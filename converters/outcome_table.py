"""A conversion's outcome as a table for people."""

from converters.outcome import Conversion, JudgedVariant

_HEAD = ("variant", "size", "drop", "p50 ms", "int8 share", "metrics")


def table(done: Conversion) -> str:
    """Return the variants, one in a line, and below them original, verdict and bundle."""
    rows = [_HEAD, *(_row(variant) for variant in done.variants)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    baseline = _figures(done.baseline)
    lines += [f"float original: {baseline or 'not judged'}", f"verdict: {done.verdict}"]
    if done.bundle is not None:
        lines.append(f"bundle: {done.bundle} {done.digest}")
    return "\n".join(lines)


def _row(variant: JudgedVariant) -> tuple[str, ...]:
    made = variant.made
    return (
        f"{made.output.runtime} {made.output.precision}",
        f"{variant.size_bytes / 1000:.1f} kB",
        "" if variant.drop is None else f"{variant.drop:+.4f}",
        f"{variant.latency_ms.get('p50', 0):.3f}",
        f"{made.quantized_macs:.0%}",
        _figures(variant.metrics),
    )


def _figures(metrics: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.4f}" for name, value in metrics.items())
