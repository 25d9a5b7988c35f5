"""Make the int8 files: plan, write and judge, rung by rung, and what replaces them if need be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from converters.calibration import CalibrationMethod
from converters.evaluation import Answers
from converters.graph import Graph
from converters.ort import OrtModel
from converters.outcome import JudgedVariant, Refusal
from converters.quant.ladder import FALLBACKS, Attempt, Options, Rung, climb, is_within
from converters.quant.noise import relative_noise
from converters.quant.operators import multiply_accumulates
from converters.quant.plan import QuantPlan
from converters.quant.previous_grids import read_grids
from converters.quant.rung_plans import Planned, RungPlans
from converters.quant.scale_reuse import count_kept
from converters.quant.sensitivity import Sensitivity, by_worth
from converters.recipe import Output
from converters.refusals import refusal_of
from converters.session import Session
from converters.variants import file_name, write_variant
from edgeops.durable import write_atomic
from edgeops.errors import ConversionError, UnsupportedModelError, UsageError

MAX_RUNTIME_NOISE: Final = 0.1
"""Integer kernels may differ from the pairs as written by this share of the output's energy."""

LEAST_MACS: Final = 0.01
"""Share of multiply-accumulates below which a file is int8 in name only."""

CHART_SAMPLES: Final = 2
"""Samples to rank layers on where only the report asks for it."""

TOTAL_LOSS: Final = 1.0
"""Drop of a file that does not run, or not as written."""


@dataclass(slots=True)
class Quantized:
    """The files that the ladder ended with, and how it went.

    Attributes:
        variants: By the output really made: an int8 file that misses its budget is replaced
            by one of another precision.
        refusals: By the output asked for, where it was not made, with the reason.
        attempts: All rungs tried, in order.
        chosen: The rung that the int8 files were made by; ``None`` if none is in budget.
        plan: What the int8 files were written by.
        graph: What they were written from: equalized, with corrected biases, as chosen.
        rejected: The least bad int8 plan where none is in budget: it shows where it broke.
        ranking: Layers by sensitivity, most sensitive first.
        methods: Calibration method -> number of tensors of ``plan`` whose range it chose.
        warnings: Sentences for people.
    """

    variants: dict[Output, JudgedVariant] = field(default_factory=dict)
    refusals: dict[Output, Refusal] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    chosen: Attempt | None = None
    plan: QuantPlan | None = None
    graph: Graph | None = None
    rejected: Planned | None = None
    ranking: tuple[Sensitivity, ...] = ()
    methods: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def quantize(
    session: Session,
    outputs: Sequence[Output],
    folder: Path,
    baseline: Answers | None,
    say: Callable[[str], None],
) -> Quantized:
    """Return int8 files within budget, or what replaces them.

    All int8 files come from one plan, so the worst of them decides whether a rung passes.

    Args:
        session: Model, data and budget.
        outputs: Those to make, of the precisions int8 and int16x8.
        folder: The bundle in the making.
        baseline: The float original's answers.
        say: Takes words for people.

    Raises:
        UsageError: There are no calibration data.
    """
    if not outputs:
        return Quantized()
    return _Quantizer(session, folder, baseline, say).run(outputs)


@dataclass(slots=True)
class _Made:
    """The files of one rung; their bytes are kept while later rungs overwrite them."""

    planned: Planned
    drop: float
    variants: dict[Output, JudgedVariant]
    data: dict[str, bytes]


class _HollowError(ConversionError):
    """An int8 file would be int8 in name only."""


class _Quantizer:
    """The ladder's hands: calibrates, writes and judges for one session."""

    def __init__(
        self,
        session: Session,
        folder: Path,
        baseline: Answers | None,
        say: Callable[[str], None],
    ) -> None:
        recipe = session.recipe
        if session.calibration is None or recipe.calibration is None:
            raise UsageError(
                "int8 needs calibration data: name some in the recipe or --calibration"
            )
        unknown = sorted({*recipe.keep_float} - {node.name for node in session.graph.nodes})
        if unknown:
            raise UsageError(f"keep_float names {', '.join(unknown)}: the model has no such layer")
        self._session = session
        self._folder = folder
        self._baseline = baseline
        self._say = say
        self._method = recipe.calibration.method
        kept = recipe.scales_from
        self._previous = read_grids(session.folder / kept) if kept else {}
        session.progress.stage("calibrating")
        self._plans = RungPlans(
            session.graph,
            session.calibration,
            per_channel=session.target.per_channel,
            previous=self._previous,
            integer_tail=session.target.io != "float32",
            reduce_range=session.target.reduce_range,
        )
        self._done = Quantized()
        self._best: _Made | None = None

    def run(self, outputs: Sequence[Output]) -> Quantized:
        """Make ``outputs``, or what replaces them."""
        done = self._done
        integer = [output for output in outputs if output.precision == "int8"]
        attempts: list[Attempt] = []
        if integer:
            try:
                attempts += self._climb(integer)
            except _HollowError as error:
                attempts += self._do_without(integer, str(error))
            else:
                if done.chosen is None:
                    attempts += self._fall_back(integer, self._missed(attempts), over_budget=True)
        for output in outputs:
            if output.precision != "int8":
                attempts.append(self._make(output, within=None))
        done.attempts = tuple(attempts)
        return done

    def _climb(self, outputs: Sequence[Output]) -> list[Attempt]:
        session, done = self._session, self._done

        def attempt(rung: Rung) -> Attempt:
            session.progress.stage(f"trying int8 by {rung.name}")
            planned = self._plans.plan(rung)
            if planned.plan.quantized_macs < LEAST_MACS:
                if rung.keep_float == options.keep_float:
                    raise _HollowError(
                        "int8 would change nothing: the model has no layer to quantize"
                    )
                return Attempt(rung, TOTAL_LOSS, planned.noise)  # all that counts is float now
            made = self._write_and_judge(planned, outputs)
            if is_within(made.drop, session.max_drop):
                self._best = made
            self._say(
                f"int8 by {rung.name}: {session.metric} drops by {made.drop:+.4f}, "
                f"noise {planned.noise:.2g}"
            )
            return Attempt(rung, made.drop, planned.noise)

        def rank(rung: Rung) -> tuple[str, ...]:
            session.progress.stage("ranking layers by sensitivity")
            done.ranking = self._plans.ranking(rung)
            return by_worth(done.ranking)

        options = Options(
            max_drop=session.max_drop,
            method=self._method,
            keep_float=tuple(sorted(session.recipe.keep_float)),
            heads=self._plans.head_layers,
            can_equalize=self._plans.can_equalize,
            equalize_first=session.target.equalize,
        )
        way = climb(attempt, rank, options)
        done.chosen = way.chosen
        if way.chosen is not None and self._best is not None:
            self._keep(way.chosen.rung, self._best)
        else:
            least = min(way.attempts, key=lambda tried: tried.drop)
            done.rejected = self._plans.plan(least.rung)
            done.methods = self._plans.methods(least.rung, done.rejected.plan)
        if not done.ranking:
            done.ranking = self._plans.ranking(way.attempts[0].rung, CHART_SAMPLES)
        return way.attempts

    def _keep(self, rung: Rung, made: _Made) -> None:
        """Put the files of the chosen rung back in place, and say what is to be said of it."""
        done = self._done
        for name, data in made.data.items():
            write_atomic(self._folder / name, data)
        done.variants |= made.variants
        done.plan, done.graph = made.planned.plan, made.planned.graph
        done.methods = self._plans.methods(rung, made.planned.plan)
        unstable = self._plans.instability(rung, made.planned.plan)
        if unstable is not None:
            done.warnings += (unstable.warning,)
        if self._previous:
            self._say(count_kept(made.planned.plan, self._previous).sentence)

    def _write_and_judge(self, planned: Planned, outputs: Sequence[Output]) -> _Made:
        """Write the int8 files of a plan; what follows one beyond budget is left out."""
        made = _Made(planned, -TOTAL_LOSS, {}, {})
        refused = 0
        for output in outputs:
            try:
                judged = self._judged(planned.graph, planned.plan, output)
            except UnsupportedModelError as error:
                self._done.refusals[output] = refusal_of(self._session.graph, output, error)
                refused += 1
                continue
            except ConversionError as error:
                self._say(str(error))
                made.drop = TOTAL_LOSS
                break
            made.variants[output] = judged
            made.data[judged.made.file] = (self._folder / judged.made.file).read_bytes()
            made.drop = max(made.drop, judged.drop or 0.0)
            if not is_within(made.drop, self._session.max_drop):
                break
        if refused == len(outputs):
            made.drop = 0.0  # nothing to lose: no rung can make these files
        return made

    def _judged(self, graph: Graph, plan: QuantPlan | None, output: Output) -> JudgedVariant:
        """Write one file, run it, and return its figures.

        Raises:
            UnsupportedModelError: The model has no form for this runtime and precision.
            ConversionError: The file does not load, or does not run as written.
        """
        session = self._session
        made = write_variant(
            self._folder,
            graph,
            output,
            plan=plan,
            layout=session.recipe.input.layout,
            target=session.target,
        )
        if output.runtime == "onnx" and plan is not None:
            _run_both_ways(session, (self._folder / made.file).read_bytes())
        return session.judge(self._folder, made, self._baseline)

    def _missed(self, tried: Sequence[Attempt]) -> str:
        """Return in words how far the best of ``tried`` is from the budget."""
        session = self._session
        best = min(tried, key=lambda attempt: attempt.drop)
        return (
            f"int8 misses the budget: {session.metric} drops by {best.drop:.4f} at best "
            f"({best.rung.name}), {session.max_drop:g} is accepted"
        )

    def _do_without(self, outputs: Sequence[Output], reason: str) -> list[Attempt]:
        """Refuse int8 files; other precisions help where there is something to multiply."""
        graph = self._session.graph
        if any(multiply_accumulates(graph, node) for node in graph.nodes):
            return self._fall_back(outputs, reason, over_budget=False)
        for output in outputs:
            self._refuse(output, reason, over_budget=False)
        return []

    def _refuse(self, output: Output, reason: str, *, over_budget: bool) -> None:
        self._done.refusals[output] = Refusal(
            runtime=output.runtime,
            precision=output.precision,
            reason=reason,
            over_budget=over_budget,
        )

    def _fall_back(
        self, outputs: Sequence[Output], reason: str, *, over_budget: bool
    ) -> list[Attempt]:
        """Replace int8 files by the first other precision that is within budget."""
        session, done = self._session, self._done
        attempts: list[Attempt] = []
        for output in outputs:
            (self._folder / file_name(output)).unlink(missing_ok=True)
            if output in done.refusals:
                continue
            for precision in FALLBACKS[output.runtime]:
                other = Output(runtime=output.runtime, precision=precision)
                if precision not in session.target.precisions or other in session.outputs:
                    continue
                attempts.append(self._make(other, within=session.max_drop))
                if other in done.variants:
                    break
            self._refuse(output, reason, over_budget=over_budget)
        return attempts

    def _make(self, output: Output, *, within: float | None) -> Attempt:
        """Make one file that is not int8; keep it if its drop is ``within`` the budget."""
        session, done = self._session, self._done
        method: CalibrationMethod = "minmax" if self._method == "auto" else self._method
        # With fine activations the weights' rounding is what is left; where int8 was in budget
        # or nobody asked, the nearest steps do.
        wide = output.precision == "int16x8" and within is not None
        rung = Rung(method, session.recipe.keep_float, rounded=wide, precision=output.precision)
        session.progress.stage(f"trying {output.precision} for {output.runtime}")
        graph, plan, noise = session.graph, None, float("inf")
        try:
            if output.precision == "int16x8":
                planned = self._plans.plan(rung)
                graph, plan, noise = planned.graph, planned.plan, planned.noise
            judged = self._judged(graph, plan, output)
        except ConversionError as error:
            if within is None:
                done.refusals[output] = refusal_of(session.graph, output, error)
            self._say(f"{output.precision} for {output.runtime}: {error}")
            return Attempt(rung, TOTAL_LOSS, noise)
        drop = judged.drop or 0.0
        self._say(f"{output.precision} for {output.runtime}: {session.metric} drops by {drop:+.4f}")
        if within is None or is_within(drop, within):
            done.variants[output] = judged
            if plan is not None and done.plan is None:
                done.plan, done.graph = plan, graph
                done.methods = self._plans.methods(rung, plan)
        else:
            (self._folder / judged.made.file).unlink(missing_ok=True)
        return Attempt(rung, drop, noise)


def _run_both_ways(session: Session, data: bytes) -> None:
    """Run an int8 ONNX file with and without graph optimisation.

    Files are known that load and fail, or change their answer, only after the runtime has
    rewritten them.

    Raises:
        ConversionError: It fails, or the answers lie apart.
    """
    exact = OrtModel(data, optimize=False)
    fused = OrtModel(data)
    expected = [exact.run(feeds) for feeds in session.feeds]
    found = [fused.run(feeds) for feeds in session.feeds]
    noise = relative_noise(expected, found)
    if not np.isfinite(noise) or noise > MAX_RUNTIME_NOISE:
        raise ConversionError(
            f"the int8 ONNX file answers differently once the runtime optimises it "
            f"(noise {noise:.3g} of the output's energy)"
        )
