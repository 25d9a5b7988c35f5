"""The verdict on a conversion: pass, fallback or refused. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from converters.outcome import JudgedVariant, Refusal, Verdict
from converters.quant.ladder import is_within
from converters.recipe import Output
from edgeops.contracts.scalars import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What becomes of the files that were made.

    Attributes:
        kept: Variants within the budget, in order of preference.
        refusals: What was asked for and is not there.
        concessions: What is not as it was asked for, sentence by sentence.
    """

    verdict: Verdict
    kept: tuple[JudgedVariant, ...]
    refusals: tuple[Refusal, ...]
    concessions: tuple[str, ...]


def judge_outcome(
    asked: Sequence[Output],
    made: Mapping[Output, JudgedVariant],
    refusals: Mapping[Output, Refusal],
    max_drop: float,
    sensitive: frozenset[str] = frozenset(),
) -> Judgement:
    """Return which files are kept, and the verdict.

    ``refused`` if, in some runtime, everything that was asked for loses more than the budget, or
    if nothing is left at all. A runtime that has no form of the model costs only a fallback: the
    files for the other one are good.

    Args:
        asked: Outputs asked for, the preferred one first.
        made: Variants by the output that they are; also those made in place of another one.
        refusals: By the output asked for.
        max_drop: Largest accepted loss of the metric.
        sensitive: Layers that were tried in float for the budget's sake.
    """
    within = {
        output: variant
        for output, variant in made.items()
        if variant.drop is None or is_within(variant.drop, max_drop)
    }
    refused = dict(refusals)
    for output, variant in made.items():
        if output not in within and output in asked:
            refused[output] = _over_budget(output, variant, max_drop)
    kept = _in_order(asked, within)
    concessions = [*_replaced(asked, kept, refused), *_islands(kept, sensitive)]
    verdict: Verdict = "fallback" if concessions else "pass"
    if not kept or any(_is_lost(runtime, asked, kept, refused) for runtime in _runtimes(asked)):
        verdict = "refused"
    in_order = tuple(refused[output] for output in asked if output in refused)
    return Judgement(verdict=verdict, kept=kept, refusals=in_order, concessions=tuple(concessions))


def with_concessions(verdict: Verdict, concessions: Sequence[str]) -> Verdict:
    """Return ``verdict``, or ``fallback`` where it would hide that something is not as asked."""
    return "fallback" if verdict == "pass" and concessions else verdict


def _over_budget(output: Output, variant: JudgedVariant, max_drop: float) -> Refusal:
    return Refusal(
        runtime=output.runtime,
        precision=output.precision,
        reason=f"loses {variant.drop:.4f}, at most {max_drop:.4f} is accepted",
        over_budget=True,
    )


def _in_order(
    asked: Sequence[Output], within: Mapping[Output, JudgedVariant]
) -> tuple[JudgedVariant, ...]:
    """Return what was asked for in its order; a replacement stands where the refused one would."""
    kept: list[JudgedVariant] = []
    replacements = [output for output in within if output not in asked]
    for output in asked:
        if output in within:
            kept.append(within[output])
            continue
        for other in [other for other in replacements if other.runtime == output.runtime]:
            kept.append(within[other])
            replacements.remove(other)
    return tuple(kept)


def _replaced(
    asked: Sequence[Output], kept: Sequence[JudgedVariant], refused: Mapping[Output, Refusal]
) -> list[str]:
    sentences = []
    for output in asked:
        if output not in refused:
            continue
        instead = [
            variant.made.output.precision
            for variant in kept
            if variant.made.output.runtime == output.runtime and variant.made.output not in asked
        ]
        words = f"; {' and '.join(instead)} takes its place" if instead else ""
        sentences.append(
            f"{output.runtime} {output.precision} is not made: {refused[output].reason}{words}"
        )
    return sentences


def _islands(kept: Sequence[JudgedVariant], sensitive: frozenset[str]) -> list[str]:
    sentences = []
    for variant in kept:
        layers = [name for name in variant.made.float_islands if name in sensitive]
        if layers:
            sentences.append(
                f"{variant.id} keeps {len(layers)} layers in float for the budget: "
                f"{', '.join(layers)}"
            )
    return sentences


def _runtimes(asked: Sequence[Output]) -> list[Runtime]:
    return sorted({output.runtime for output in asked})


def _is_lost(
    runtime: Runtime,
    asked: Sequence[Output],
    kept: Sequence[JudgedVariant],
    refused: Mapping[Output, Refusal],
) -> bool:
    """Whether a runtime is left without a file although the model has a form there."""
    if any(variant.made.output.runtime == runtime for variant in kept):
        return False
    return any(
        refused[output].over_budget
        for output in asked
        if output.runtime == runtime and output in refused
    )
