"""What figures mean, in plain words: the sentences at the top of the page."""

from collections.abc import Mapping

from converters.assessment import Figure
from converters.report.contents import Report, VariantReport

METRICS = {
    "top1": ("right answers", "share of samples whose best class is the true one"),
    "f1": ("F1", "precision and recall in one figure, mean over classes"),
    "precision": ("precision", "of the answers of a class, the share that is right; mean"),
    "recall": ("recall", "of the samples of a class, the share that is found; mean"),
    "auc": ("AUC", "chance that a positive sample scores higher than a negative one"),
    "average_precision": ("average precision", "precision averaged over all recalls"),
    "map50": ("mAP at IoU 0.5", "area under precision against recall, mean over classes"),
    "agreement": ("same answers", "how far the answers are those of the float original"),
    "rank": ("rank correlation", "whether the order of samples by score is the original's"),
    "mse": ("mean squared error", "mean squared difference to the true number; less is better"),
}

_PER_CENT = "\u00a0%"
"""With a space at which no line breaks."""

AS_PLANNED = 1e-6
"""Difference from the plan, as a share of the energy, that is rounding alone."""

_MANY = 10
_SAME = 1.05
_KILO = 1000


def metric_name(metric: str) -> str:
    """Return what to call a metric."""
    return METRICS.get(metric, (metric, ""))[0]


def in_order(decides: str, figures: Mapping[str, Figure]) -> list[tuple[str, Figure]]:
    """Return figures as they are shown: the deciding one, then as ``METRICS`` has them.

    A document that is read again has its keys in another order than when it was made.
    """
    places = {name: place for place, name in enumerate(METRICS)}
    return sorted(
        figures.items(),
        key=lambda item: (item[0] != decides, places.get(item[0], len(places)), item[0]),
    )


def metric_meaning(metric: str) -> str:
    """Return what a metric measures."""
    return METRICS.get(metric, ("", ""))[1]


def figure_text(metric: str, value: float) -> str:
    """Return a figure with its unit: per cent of what is a share, else the number."""
    if metric in {"mse", "rank"}:
        return f"{value:.4g}"
    return f"{value * 100:.1f}{_PER_CENT}"


def interval_text(metric: str, figure: Figure) -> str:
    """Return where the true figure lies, or nothing where that is not known."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = figure_text(metric, figure.low), figure_text(metric, figure.high)
    return f"{low.removesuffix(_PER_CENT)} to {high}"


def loss_text(metric: str, value: float) -> str:
    """Return a loss: points of a share, per cent of growth of an error."""
    if metric == "mse":
        return f"{value * 100:+.1f} %" if abs(value) >= 0.0005 else "0.0 %"  # noqa: PLR2004 - as below
    return f"{value * 100:+.1f} points" if abs(value) >= 0.0005 else "0.0 points"  # noqa: PLR2004 - what one digit shows


def change_text(metric: str, drop: float) -> str:
    """Return how the figure itself moved: a share falls by its loss, an error grows by it."""
    return loss_text(metric, drop if metric == "mse" else -drop)


def size_text(size: int) -> str:
    """Return a number of bytes."""
    if size < _KILO:
        return f"{size} B"
    if size < _KILO**2:
        return f"{size / _KILO:.1f} kB"
    return f"{size / _KILO**2:.2f} MB"


def count_text(count: float) -> str:
    """Return a large number, rounded: 12.3 million."""
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if count >= size:
            return f"{count / size:.1f} {word}"
    return f"{count:.0f}"


def time_text(milliseconds: float) -> str:
    """Return a duration with three digits."""
    return f"{milliseconds:.3g} ms" if milliseconds < _KILO else f"{milliseconds / _KILO:.3g} s"


def times_text(ratio: float) -> str:
    """Return ``3.7`` or ``12``: one digit where it matters."""
    return f"{ratio:.0f}" if ratio >= _MANY else f"{ratio:.1f}"


def plan_text(noise: float) -> str:
    """Return how near a file comes to its plan, the noise given as a share of the energy."""
    return "as planned" if noise < AS_PLANNED else f"{100 * noise:.1g} % off its plan"


def verdict_title(report: Report) -> str:
    """Return the verdict in a few words."""
    if report.verdict == "refused":
        return "Refused: nothing was shipped"
    if report.verdict == "fallback":
        whether = "Passed" if report.judged else "Made, not judged"
        return f"{whether}, but not exactly as asked"
    return "Passed: as asked, and accurate enough" if report.judged else "Made, but not judged"


def chosen(report: Report) -> VariantReport | None:
    """Return the variant to speak of: the first within budget, which devices prefer."""
    kept = [variant for variant in report.variants if variant.within_budget is not False]
    return kept[0] if kept else (report.variants[0] if report.variants else None)


def float_latency(report: Report) -> float | None:
    """Return the median latency of the float model, if it was measured.

    A float file of a pruned model is no such thing: it is faster than the original.
    """
    if "p50" in report.original.latency_ms:
        return report.original.latency_ms["p50"]
    if report.pruning is not None:
        return None
    plain = [v for v in report.variants if v.precision == "float32" and "p50" in v.latency_ms]
    plain.sort(key=lambda variant: variant.runtime != "onnx")
    return plain[0].latency_ms["p50"] if plain else None


def headline(report: Report) -> list[str]:
    """Return the sentences that a reader who knows nothing needs first."""
    variant = chosen(report)
    if report.verdict == "refused" or variant is None:
        no_bundle = "No bundle was made, so no device can be given this model."
        return [text for text in (_refusal(report), _pruned(report), no_bundle) if text]
    sentences = [f"The {spoken(variant)} is {_size(report, variant)}{_speed(report, variant)}."]
    sentences += [_pruned(report), _accuracy(report, variant)]
    fastest = next((other for other in report.variants if other.fastest), None)
    if fastest is not None and fastest is not variant:
        sentences.append(
            f"Fastest here is the {spoken(fastest)}, at {time_text(fastest.latency_ms['p50'])}."
        )
    if report.concessions:
        sentences.append(_departures(report))
    return [sentence for sentence in sentences if sentence]


def spoken(variant: VariantReport) -> str:
    """Return what to call a variant in a sentence."""
    runtime = {"onnx": "ONNX", "tflite": "TFLite"}.get(variant.runtime, variant.runtime)
    return f"{variant.precision} {runtime} model"


def _size(report: Report, variant: VariantReport) -> str:
    ratio = report.original.size_bytes / max(1, variant.size_bytes)
    size = size_text(variant.size_bytes)
    if ratio >= _SAME:
        return f"{times_text(ratio)} times smaller than the float original ({size})"
    if ratio <= 1 / _SAME:
        return f"{times_text(1 / ratio)} times larger than the float original ({size})"
    return f"as large as the float original ({size})"


def _speed(report: Report, variant: VariantReport) -> str:
    base, own = float_latency(report), variant.latency_ms.get("p50")
    if base is None or not own or base == own:
        return ""
    ratio = base / own
    if ratio >= _SAME:
        return f" and {times_text(ratio)} times faster on this machine"
    if ratio <= 1 / _SAME:
        return f", but {times_text(1 / ratio)} times slower on this machine"
    return " and as fast on this machine"


def _accuracy(report: Report, variant: VariantReport) -> str:
    first, second = report.original.assessment, variant.assessment
    if first is None or second is None or variant.comparison is None:
        return (
            "Nobody knows how right it is: there were no data to judge by, it was only compared "
            "with the original on invented inputs."
        )
    metric, drop = report.metric, variant.comparison.drop
    before, after = first.figures[metric].value, second.figures[metric].value
    allowed = loss_text(metric, report.budget).removeprefix("+")
    amount = loss_text(metric, abs(drop.value)).removeprefix("+")
    change = f"a {'loss' if drop.value > 0 else 'gain'} of {amount}"
    if amount.startswith("0.0 "):
        change = "no loss"
    text = (
        f"On {second.samples} samples it reaches {figure_text(metric, after)} "
        f"({metric_name(metric)}), the original {figure_text(metric, before)}: "
        f"{change}, where a loss of {allowed} was allowed."
    )
    if drop.low is not None and drop.high is not None and drop.high > report.budget:
        worst = loss_text(metric, drop.high).removeprefix("+")
        text += f" With so many samples the true loss could be as large as {worst}."
    return text


def _pruned(report: Report) -> str:
    if report.pruning is None:
        return ""
    before, after = report.pruning.parameters
    share = f"{(1 - after / max(1, before)) * 100:.0f}{_PER_CENT}"
    return f"Every file is of the pruned model: {share} of its weights were taken away first."


def _departures(report: Report) -> str:
    return "Not as asked: " + "; ".join(text.rstrip(".") for text in report.concessions) + "."


def _refusal(report: Report) -> str:
    over = [refusal for refusal in report.refusals if refusal.over_budget]
    reasons = "; ".join(f"{refusal.id}: {refusal.reason}" for refusal in over)
    if report.variants:
        kept = " and ".join(f"the {spoken(variant)}" for variant in report.variants)
        return (
            f"Accurate enough is only {kept}; each runtime that was asked for needs a file. "
            f"What is missing loses too much: {reasons}."
        )
    if report.attempts and not any(attempt.within_budget for attempt in report.attempts):
        least = loss_text(report.metric, min(attempt.drop for attempt in report.attempts))
        allowed = loss_text(report.metric, report.budget).removeprefix("+")
        return (
            f"Nothing that was tried is accurate enough: the best loses {least.removeprefix('+')} "
            f"({metric_name(report.metric)}), {allowed} was allowed."
        )
    if over:
        return f"No file is accurate enough. {reasons}."
    return "None of the files that were asked for could be made."
