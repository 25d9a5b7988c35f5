"""When a stage passes, waits or stops: decided from numbers alone. Pure.

The order of the questions is the policy (``POLICY_VERSION`` changes with it):

1. A device distrusted what it was given: pause at once.
2. The e-process proves that too many fail: revert.
3. The Wilson bound says that too many fail, or the failed hold every place: pause.
4. Somebody is still on the way, or the soak time runs: wait.
5. Enough succeeded to prove the gate, or an operator accepted: pass.
6. Too little is known: never a pass; pause once waiting longer cannot help or takes too long.

The denominator is *attempted*: devices that took the bundle up. Those never reached are a bucket
of their own and hide no failure. Devices still on the way count as attempted and not as failed,
because failures report sooner than successes do.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from fleet.rollouts.bounds import e_value, exact_upper, least_to_pass, wilson_lower
from fleet.rollouts.spec import OnFail, SmallStage

POLICY_VERSION: Final = 1
ALPHA: Final = 0.05
"""Chance of an error that each of the three bounds accepts."""


class Verdict(StrEnum):
    """What the numbers say about a stage."""

    WAIT = "wait"
    PASS = "pass"  # noqa: S105  # a verdict
    INSUFFICIENT_DATA = "insufficient-data"
    PAUSE = "pause"
    FAIL = "fail"
    REVERT = "revert"


STOPS: Final = frozenset({Verdict.PAUSE, Verdict.FAIL, Verdict.REVERT})


class Action(StrEnum):
    """What the engine does about it."""

    NOTHING = "nothing"
    ADVANCE = "advance"
    PAUSE = "pause"
    ABORT_KEEP = "abort-keep"
    ABORT_REVERT = "abort-revert"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRule:
    """The gate of one stage.

    Attributes:
        max_failure_rate: Share of attempted devices that may fail, above 0 and below 1.
        min_n: Attempts before the Wilson bound is looked at.
        small_stage: What lets a stage pass that is too small for the bound.
        last: Whether this is the rollout's last stage, which waits for unreachable devices.
    """

    max_failure_rate: float
    min_n: int
    small_stage: SmallStage
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Where the members of one stage are; each is counted in exactly one of the first ten.

    Attributes:
        waiting: Online and not yet admitted.
        unreachable: Offline and not yet admitted.
        assigned: Given the bundle, not yet heard to take it up.
        updating: On the way.
        committed: Proven to run the bundle after probation.
        failed: Ended by a reason of class device or bundle, or by the attempt's timeout.
        regressed: Had committed, and later reported another bundle.
        distrusted: Ended by a reason of class security.
        gave_up: Out of retries after transient reasons; says nothing about the bundle.
        left: Decommissioned, or taken over by another assignment; no longer a member.
        acknowledged_failures: Failures that an operator had seen when resuming.
        acknowledged_distrusted: Likewise.
        accepted: An operator took the stage as passed.
        soaked: The soak time since the last device settled is over.
        overdue: The gate's deadline is over.
        blocked: Failed devices that are offline hold every place, so that nobody can be admitted.
    """

    waiting: int = 0
    unreachable: int = 0
    assigned: int = 0
    updating: int = 0
    committed: int = 0
    failed: int = 0
    regressed: int = 0
    distrusted: int = 0
    gave_up: int = 0
    left: int = 0
    acknowledged_failures: int = 0
    acknowledged_distrusted: int = 0
    accepted: bool = False
    soaked: bool = False
    overdue: bool = False
    blocked: bool = False

    @property
    def failures(self) -> int:
        """Return the numerator of the failure rate."""
        return self.failed + self.regressed

    @property
    def attempted(self) -> int:
        """Return the denominator of the failure rate."""
        return self.updating + self.committed + self.failures

    @property
    def in_flight(self) -> int:
        """Return how many were admitted and have not settled."""
        return self.assigned + self.updating

    @property
    def members(self) -> int:
        """Return how many devices the stage is about."""
        return (
            self.waiting
            + self.unreachable
            + self.in_flight
            + self.committed
            + self.failures
            + self.distrusted
            + self.gave_up
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers behind a verdict; rates and bounds are 0 to 1."""

    members: int
    attempted: int
    failures: int
    lower: float
    upper: float
    e_value: float
    max_failure_rate: float
    needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict with its figures and one sentence.

    Attributes:
        pause_now: With ``INSUFFICIENT_DATA``: waiting longer is pointless or took too long.
        weak: A pass without the statistical proof (small stage, or accepted by an operator).
    """

    verdict: Verdict
    reason: str
    figures: Figures
    pause_now: bool = False
    weak: bool = False


def judge(rule: GateRule, tally: Tally) -> Judgement:
    """Return what the numbers say; failures outrank everything."""
    figures = figures_of(rule, tally)
    if tally.distrusted > tally.acknowledged_distrusted:
        reason = f"{tally.distrusted} devices distrust what they were given; look before going on"
        return Judgement(verdict=Verdict.PAUSE, reason=reason, figures=figures)
    if tally.failures > tally.acknowledged_failures:
        if figures.e_value >= 1 / ALPHA:
            reason = (
                f"{tally.failures} of {tally.attempted} failed: proven above"
                f" {rule.max_failure_rate:.1%}"
                f" (e-value {figures.e_value:.3g}, {1 / ALPHA:.0f} is proof)"
            )
            return Judgement(verdict=Verdict.REVERT, reason=reason, figures=figures)
        if tally.attempted >= rule.min_n and figures.lower > rule.max_failure_rate:
            reason = (
                f"{tally.failures} of {tally.attempted} failed: at least {figures.lower:.1%},"
                f" more than {rule.max_failure_rate:.1%}"
            )
            return Judgement(verdict=Verdict.PAUSE, reason=reason, figures=figures)
    if tally.blocked:
        reason = f"failed devices that went offline hold every place; {tally.waiting} cannot start"
        return Judgement(verdict=Verdict.PAUSE, reason=reason, figures=figures)
    waiting = _still_waiting(tally)
    if waiting:
        return Judgement(verdict=Verdict.WAIT, reason=waiting, figures=figures)
    return _settled(rule, tally, figures)


def figures_of(rule: GateRule, tally: Tally) -> Figures:
    """Return the bounds for a tally."""
    return Figures(
        members=tally.members,
        attempted=tally.attempted,
        failures=tally.failures,
        lower=wilson_lower(tally.failures, tally.attempted),
        # Who is still on the way proves nothing yet.
        upper=exact_upper(tally.failures, tally.attempted - tally.updating, alpha=ALPHA),
        e_value=e_value(tally.failures, tally.attempted, threshold=rule.max_failure_rate),
        max_failure_rate=rule.max_failure_rate,
        needed=least_to_pass(rule.max_failure_rate, alpha=ALPHA),
    )


def action(judgement: Judgement, on_fail: OnFail) -> Action:
    """Return what to do: only the always-valid proof may do what cannot be undone."""
    match judgement.verdict:
        case Verdict.WAIT:
            return Action.NOTHING
        case Verdict.PASS:
            return Action.ADVANCE
        case Verdict.INSUFFICIENT_DATA:
            return Action.PAUSE if judgement.pause_now else Action.NOTHING
        case Verdict.PAUSE | Verdict.FAIL:
            return Action.PAUSE
        case Verdict.REVERT:
            return {
                OnFail.PAUSE: Action.PAUSE,
                OnFail.ABORT_KEEP: Action.ABORT_KEEP,
                OnFail.ABORT_REVERT: Action.ABORT_REVERT,
            }[on_fail]
        case _:
            assert_never(judgement.verdict)


def _still_waiting(tally: Tally) -> str:
    if tally.waiting or tally.in_flight:
        return f"{tally.in_flight} devices on the way, {tally.waiting} more to admit"
    return "" if tally.soaked else "soaking"


def _settled(rule: GateRule, tally: Tally, figures: Figures) -> Judgement:
    """Judge a stage in which nobody is on the way and the soak time is over."""
    rate = f"{rule.max_failure_rate:.1%}"
    absent = f"{tally.unreachable} of {tally.members} devices are not reachable"
    verdict, weak, pause_now = Verdict.PASS, False, False
    if rule.last and tally.unreachable and not tally.accepted:
        verdict, reason = Verdict.WAIT, f"{absent}; waiting for them"
    elif tally.accepted:
        reason = f"accepted by an operator with {tally.failures} of {tally.attempted} failed"
        weak = True
    elif figures.upper < rule.max_failure_rate:
        reason = f"{tally.failures} of {tally.attempted} failed: proven below {rate}"
    elif _all_must_commit(rule, figures) and 0 < tally.members == tally.committed:
        reason = (
            f"all {tally.members} devices committed; weaker proof than the"
            f" {figures.needed} that {rate} takes"
        )
        weak = True
    elif _all_must_commit(rule, figures) and tally.failures:
        verdict = Verdict.FAIL
        reason = f"{tally.failures} of {tally.members} failed in a stage where all must commit"
    elif tally.unreachable:
        verdict, pause_now = Verdict.INSUFFICIENT_DATA, tally.overdue
        reason = f"{absent}; {tally.attempted} attempted are too few to prove {rate}"
    else:
        verdict, pause_now = Verdict.INSUFFICIENT_DATA, True
        reason = (
            f"{tally.failures} of {tally.attempted} failed: at most {figures.upper:.1%} is proven,"
            f" not {rate}, and no device is left to learn from"
        )
    return Judgement(
        verdict=verdict, reason=reason, figures=figures, weak=weak, pause_now=pause_now
    )


def _all_must_commit(rule: GateRule, figures: Figures) -> bool:
    return rule.small_stage is SmallStage.ALL and figures.members < figures.needed
