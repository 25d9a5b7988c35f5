"""The ladder that keeps int8 within its accuracy budget, one rung at a time.

Pure: the caller says how a rung is tried. Every rung tried is kept for the report. Cheap and
harmless rungs come first; each later one costs size, time or bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from converters.calibration import CalibrationMethod
from edgeops.contracts.scalars import Precision, Runtime

MAX_FLOAT_SHARE: Final = 0.5
"""Beyond half of its layers in float a model is no int8 model any more."""

MAX_BISECTIONS: Final = 3
"""Tries spent on leaving fewer layers float than the first number that was enough."""

WILD_NOISE: Final = 0.2
"""Noise from which on single layers are beyond repair. Corrections of means and rounding then
fit the rest to their nonsense, so float layers come first and corrections after them."""

CLOSE_DROPS: Final = 0.02
"""Drops that differ by less are equal: evaluation sets are small. Noise decides then."""

TOLERANCE: Final = 1e-9
"""Against binary fractions: a drop of exactly the budget is within it."""

FALLBACKS: Final[dict[Runtime, tuple[Precision, ...]]] = {
    "onnx": ("dynamic-int8", "float16"),
    "tflite": ("dynamic-int8", "float16", "int16x8"),
}
"""What replaces an int8 file that cannot meet its budget, the smallest loss of speed first.

16-bit activations come last: processors have no fast kernels for them (a detector took 87 ms
where its float16 file took 4), and targets that have name no float precision."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to make the files.

    Attributes:
        method: How ranges are calibrated.
        keep_float: Layers that stay float.
        equalized: Whether channels of neighbouring layers are scaled alike first.
        corrected: Whether biases make up for the mean error of their layer.
        rounded: Whether weights are rounded to fit their inputs, not to the nearest step.
        precision: Other than int8 for the rungs at the end.
    """

    method: CalibrationMethod
    keep_float: tuple[str, ...] = ()
    equalized: bool = False
    corrected: bool = False
    rounded: bool = False
    precision: Precision = "int8"

    @property
    def name(self) -> str:
        """Return a short name for reports, such as ``auto+bias+4-float``."""
        if self.precision not in ("int8", "int16x8"):
            return self.precision
        parts = [self.method if self.precision == "int8" else f"{self.precision}:{self.method}"]
        if self.equalized:
            parts.append("equalized")
        if self.rounded:
            parts.append("rounded")
        if self.corrected:
            parts.append("bias")
        if self.keep_float:
            parts.append(f"{len(self.keep_float)}-float")
        return "+".join(parts)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A rung and what came of it.

    Attributes:
        drop: Loss of the metric against the float original; the worst of all files judged.
        noise: Squared error over variance at the model's heads on calibration samples: finer
            than a metric on a small evaluation set, and not fitted to it. Infinite where it
            was not measured.
    """

    rung: Rung
    drop: float
    noise: float = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the ladder may use.

    Attributes:
        max_drop: Largest accepted drop.
        method: The user's calibration method; ``auto`` begins with the cheapest.
        keep_float: Layers that the user wants in float.
        heads: The last layers, if there are several: a detector's boxes and scores.
        can_equalize: Whether there are layers to equalize.
        equalize_first: The target asks for equalized layers from the start.
    """

    max_drop: float
    method: CalibrationMethod = "auto"
    keep_float: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    can_equalize: bool = False
    equalize_first: bool = False


@dataclass(slots=True)
class Climb:
    """How the ladder went.

    Attributes:
        attempts: All rungs tried, in order.
        chosen: The one within budget, ``None`` if there is none.
    """

    attempts: list[Attempt] = field(default_factory=list)
    chosen: Attempt | None = None


def climb(
    attempt: Callable[[Rung], Attempt],
    rank: Callable[[Rung], Sequence[str]],
    options: Options,
) -> Climb:
    """Try rungs until one is within budget.

    Of the rungs without float layers, the best one is what later rungs build on. Then layers
    are left float: their number doubles until it is enough, and is halved back towards the
    smallest that is.

    Args:
        attempt: Tries a rung.
        rank: Returns the layers in the order to leave them float; called when needed.
        options: Budget and what may be used.
    """
    done = Climb()

    def passes(rung: Rung) -> bool:
        tried = attempt(rung)
        done.attempts.append(tried)
        if is_within(tried.drop, options.max_drop):
            done.chosen = tried
            return True
        return False

    start = Rung(
        "minmax" if options.method == "auto" else options.method,
        keep_float=options.keep_float,
        equalized=options.equalize_first and options.can_equalize,
    )
    if passes(start) or (options.method == "auto" and passes(replace(start, method="auto"))):
        return done
    improvements: list[Callable[[Rung], Rung]] = []
    if _best(done).noise < WILD_NOISE:
        improvements += [_corrected, _rounded]
    if options.can_equalize and not start.equalized:
        improvements.append(lambda best: replace(best, equalized=True))
    if any(passes(improve(_best(done).rung)) for improve in improvements):
        return done
    base = _best(done).rung
    if _best(done).noise < WILD_NOISE:
        base = _rounded(base)
    if options.heads:
        tail = tuple(sorted({*base.keep_float, *options.heads}))
        if passes(replace(base, keep_float=tail)):
            # The heads are enough; perhaps fewer layers are.
            _leave_float(done, passes, base, rank(base), limit=len(tail) - 1)
            return done
    layers = rank(base)
    _leave_float(done, passes, base, layers, limit=int(len(layers) * MAX_FLOAT_SHARE))
    return done


def _corrected(rung: Rung) -> Rung:
    return replace(rung, corrected=True)


def _rounded(rung: Rung) -> Rung:
    return replace(rung, corrected=True, rounded=True)


def is_within(drop: float, max_drop: float) -> bool:
    """Whether ``drop`` is accepted."""
    return drop <= max_drop + TOLERANCE


def _best(done: Climb) -> Attempt:
    """Return the attempt with the least noise among those whose drop is about the smallest.

    Noise alone misleads where a model is broken: then biases make up for wild layers, and
    the figures can get far worse while the noise gets a little better.
    """
    smallest = min(tried.drop for tried in done.attempts)
    close = [tried for tried in done.attempts if tried.drop <= smallest + CLOSE_DROPS]
    return min(close, key=lambda tried: (tried.noise, tried.drop))


def _leave_float(
    done: Climb,
    passes: Callable[[Rung], bool],
    base: Rung,
    layers: Sequence[str],
    *,
    limit: int,
) -> None:
    """Find a small number of layers whose floating brings the model within budget."""
    rest = [name for name in layers if name not in base.keep_float]
    limit = min(limit, len(rest))
    shape = base

    def with_float(count: int) -> Rung:
        return replace(shape, keep_float=tuple(sorted({*base.keep_float, *rest[:count]})))

    failed, count = 0, 1
    while count <= limit and not passes(with_float(count)):
        if not shape.rounded and done.attempts[-1].noise < WILD_NOISE:
            # Nothing wild is left: what the corrections can do may be enough already.
            shape = _rounded(shape)
            if passes(with_float(count)):
                break
        failed, count = count, count * 2
    if count > limit:
        return
    for _ in range(MAX_BISECTIONS):
        middle = (failed + count) // 2
        if middle == failed:
            return
        if passes(with_float(middle)):
            count = middle
        else:
            failed = middle
