"""Make the int8 files: calibrate, plan, write, judge, rung by rung."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from converters.calibration import Calibration, CalibrationMethod, calibrate
from converters.evaluation import Answers
from converters.ort import OrtModel
from converters.outcome import JudgedVariant, Refusal
from converters.quant.ladder import Attempt, Rung, climb
from converters.quant.plan import QuantPlan
from converters.quant.planner import plan_quantization
from converters.quant.noise import relative_noise
from converters.quant.sensitivity import rank_layers
from converters.recipe import Output
from converters.session import Session
from converters.variants import write_variant
from edgeops.errors import ConversionError, UnsupportedModelError, UsageError

RANKING_SAMPLES: Final = 6
MAX_RUNTIME_NOISE: Final = 0.1
"""Integer kernels may differ from the pairs as written by this share of the output's energy."""


@dataclass(slots=True)
class Quantized:
    """The int8 files of the last rung tried, and how the ladder went."""

    variants: dict[Output, JudgedVariant] = field(default_factory=dict)
    refusals: dict[Output, Refusal] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()


def quantize(
    session: Session,
    outputs: Sequence[Output],
    folder: Path,
    baseline: Answers | None,
    say: Callable[[str], None],
) -> Quantized:
    """Return the int8 files of the first rung within budget, or of the last one tried.

    All int8 files come from one plan, so the worst of them decides whether a rung passes.

    Raises:
        UsageError: There are no calibration data.
        ConversionError: Nothing can be quantized, or a file does not run.
    """
    if not outputs:
        return Quantized()
    calibration = session.calibration
    if calibration is None:
        raise UsageError("int8 needs calibration data: name some in the recipe or --calibration")
    ranges: dict[CalibrationMethod, Calibration] = {}
    done = Quantized()

    def calibrated(method: CalibrationMethod) -> Calibration:
        if method not in ranges:
            ranges[method] = calibrate(session.graph, calibration, method)
        return ranges[method]

    def attempt(rung: Rung) -> float:
        plan = plan_quantization(
            session.graph, calibrated(rung.method).ranges, keep_float=rung.keep_float
        )
        if plan.quantized_macs == 0:
            raise ConversionError("int8 would change nothing: the model has no layer to quantize")
        drop = _write_and_judge(session, plan, outputs, folder=folder, baseline=baseline, done=done)
        say(f"int8 by {rung.name}: {session.metric} drops by {drop:+.4f}")
        return drop

    def rank(method: CalibrationMethod) -> list[str]:
        say("ranking layers by sensitivity")
        feeds = session.feeds[:RANKING_SAMPLES]
        return [
            layer.node for layer in rank_layers(session.graph, calibrated(method).ranges, feeds)
        ]

    done.attempts = climb(attempt, rank, session.max_drop)
    return done


def _write_and_judge(
    session: Session,
    plan: QuantPlan,
    outputs: Sequence[Output],
    *,
    folder: Path,
    baseline: Answers | None,
    done: Quantized,
) -> float:
    """Write all int8 files of a plan into ``done``; return the worst drop."""
    worst = -1.0
    for output in outputs:
        try:
            made = write_variant(
                folder,
                session.graph,
                output,
                plan=plan,
                layout=session.recipe.input.layout,
                activations=session.target.activations,
            )
        except UnsupportedModelError as error:
            done.refusals[output] = Refusal(
                runtime=output.runtime, precision=output.precision, reason=str(error)
            )
            continue
        if output.runtime == "onnx":
            _run_both_ways(session, (folder / made.file).read_bytes())
        done.variants[output] = session.judge(folder, made, baseline)
        worst = max(worst, done.variants[output].drop or 0.0)
    return worst


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
