"""Make and judge every model file of a conversion."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from converters.outcome import Conversion, JudgedVariant, Refusal
from converters.plan_gate import require_planned
from converters.pruning.prune import Pruned
from converters.quantizing import Quantized, quantize
from converters.recipe import Output
from converters.refusals import refusal_of
from converters.session import Session
from converters.slimming import slim
from converters.target_check import arena_bytes
from converters.variant_latency import fastest, timed
from converters.variants import file_name, write_variant
from converters.verdict import judge_outcome, with_concessions
from edgeops.clock import Clock
from edgeops.contracts.scalars import Precision
from edgeops.errors import ConversionError

_FLOAT: Final = Output(runtime="onnx", precision="float32")
_INTEGER: Final[frozenset[Precision]] = frozenset({"int8", "int16x8"})
"""Precisions that need calibrated scales."""

_PLANNED: Final[Mapping[str, Precision]] = {"int8": "int8", "int16": "int16x8"}
"""Type of a plan's activations -> precision of the files written by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made.

    Attributes:
        session: With the graph that the files were made from.
        baseline: The float original's figures.
        pruned: What pruning took away, if it was asked for.
        quantized: How the integer files came about.
        outcome: Verdict, variants and refusals; not published yet.
    """

    session: Session
    baseline: JudgedVariant
    pruned: Pruned | None
    quantized: Quantized
    outcome: Conversion


def make_files(
    session: Session, work: Path, folder: Path, clock: Clock, say: Callable[[str], None]
) -> Made:
    """Make the files that the recipe asks for and judge them.

    Args:
        session: Model, data and options.
        work: Folder for what is not part of the bundle.
        folder: The bundle in the making; afterwards it holds the files that are kept.
        clock: For latencies.
        say: Takes words for people.

    Raises:
        UsageError: int8 is asked for and there are no calibration data.
        ConversionError: A file does not compute what it must.
        StorageError: The disk is full.
    """
    asked = session.outputs
    baseline = _baseline(session, work / "float")
    slimmed = slim(session, baseline, work / "pruned", say)
    session = slimmed.session
    integer = [output for output in asked if output.precision in _INTEGER]
    quantized = quantize(session, integer, folder, baseline.answers, say)
    made, refusals = _others(
        session, [output for output in asked if output not in integer], folder, baseline
    )
    made |= quantized.variants
    refusals |= quantized.refusals
    tried_float = {name for attempt in quantized.attempts for name in attempt.rung.keep_float}
    judgement = judge_outcome(
        asked,
        made,
        refusals,
        session.max_drop,
        frozenset(tried_float - set(session.recipe.keep_float)),
    )
    session.progress.stage("measuring latencies")
    kept = timed(
        folder,
        [
            _measured(folder, _matched(folder, variant, session, quantized), session)
            for variant in judgement.kept
        ],
        clock,
        threads=session.target.threads,
    )
    _keep_only(folder, made, [variant.made.output for variant in kept])
    outcome = Conversion(
        verdict=with_concessions(judgement.verdict, slimmed.concessions),
        seconds=0.0,
        baseline=baseline.metrics,
        variants=kept,
        refusals=judgement.refusals,
        concessions=(*slimmed.concessions, *judgement.concessions),
        fastest=fastest(kept),
        attempts=quantized.attempts,
        warnings=(*session.warnings, *quantized.warnings),
    )
    return Made(
        session=session,
        baseline=baseline,
        pruned=slimmed.pruned,
        quantized=quantized,
        outcome=outcome,
    )


def _baseline(session: Session, folder: Path) -> JudgedVariant:
    """Return the float original's answers and figures."""
    made = write_variant(
        folder, session.graph, _FLOAT, plan=None, layout=session.recipe.input.layout
    )
    return session.judge(folder, made, None)


def _others(
    session: Session, wanted: Iterable[Output], folder: Path, baseline: JudgedVariant
) -> tuple[dict[Output, JudgedVariant], dict[Output, Refusal]]:
    """Write and judge every output that needs no scales."""
    judged: dict[Output, JudgedVariant] = {}
    refusals: dict[Output, Refusal] = {}
    for output in wanted:
        try:
            made = write_variant(
                folder,
                session.graph,
                output,
                plan=None,
                layout=session.recipe.input.layout,
                target=session.target,
            )
        except ConversionError as error:
            refusals[output] = refusal_of(session.graph, output, error)
            continue
        judged[output] = session.judge(folder, made, baseline.answers)
    return judged, refusals


def _matched(
    folder: Path, variant: JudgedVariant, session: Session, quantized: Quantized
) -> JudgedVariant:
    """Return a variant with how near it comes to the plan that it was written by, if to any."""
    plan, graph = quantized.plan, quantized.graph
    if plan is None or graph is None:
        return variant
    if variant.made.output.precision != _PLANNED[plan.activations]:
        return variant
    match = require_planned(
        graph,
        plan,
        folder / variant.made.file,
        variant.made,
        session.feeds,
        layout=session.recipe.input.layout,
    )
    return replace(variant, plan_match=match)


def _measured(folder: Path, variant: JudgedVariant, session: Session) -> JudgedVariant:
    """Return a variant with what can be read off a TFLite file."""
    if variant.made.output.runtime != "tflite":
        return variant
    from converters.tflite.partitions import delegate_partitions  # noqa: PLC0415 - as above

    data = (folder / variant.made.file).read_bytes()
    return replace(
        variant,
        partitions=delegate_partitions(data),
        arena_bytes=arena_bytes(data) if session.target.arena else None,
    )


def _keep_only(folder: Path, made: Iterable[Output], kept: Iterable[Output]) -> None:
    """Remove the files of ``made`` that are not ``kept``."""
    wanted = {file_name(output) for output in kept}
    for name in {file_name(output) for output in made} - wanted:
        (folder / name).unlink(missing_ok=True)
