"""Pure: whether a new bundle has proved itself, from figures alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.update.ports import SlotHealth
from agent.update.rules import UpdateRules
from edgeops.contracts.update import Probation, Reason

MIN_JUDGED = 20
"""Inferences before shares and percentiles mean anything."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the figures say; neither proved nor failed means: watch on."""

    proved: bool = False
    failed: Reason | None = None
    detail: str = ""


def judge(
    rules: UpdateRules, wanted: Probation, health: SlotHealth, baseline: Mapping[str, int]
) -> Verdict:
    """Decide about a bundle on probation; faults outrank success.

    Args:
        rules: Limits of this device.
        wanted: How long it is watched, from the assignment.
        health: Figures since the activation.
        baseline: Labels that the bundle before said; empty where there was none.
    """
    failure = _failure(rules, wanted, health)
    if failure is not None:
        return failure
    long_enough = health.elapsed_s >= wanted.s and health.frames >= wanted.frames
    shifted = _label_shift(rules, health.label_counts, baseline)
    # A mix needs its frames, so a new bundle is judged by it at the end of probation, or as soon
    # as there are several times as many: one odd minute is no reason to go back.
    judged_early = sum(health.label_counts.values()) >= 4 * rules.behaviour.min_frames
    if shifted is not None and (long_enough or judged_early):
        return shifted
    return Verdict(proved=long_enough)


def total_variation(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """Return the distance of two label mixes, 0 (the same) to 1 (nothing in common).

    Both must hold at least one count.
    """
    a, b = sum(first.values()), sum(second.values())
    labels = first.keys() | second.keys()
    return sum(abs(first.get(x, 0) / a - second.get(x, 0) / b) for x in labels) / 2


def _failure(rules: UpdateRules, wanted: Probation, health: SlotHealth) -> Verdict | None:
    if health.restarts >= rules.max_restarts > 0:
        return Verdict(failed=Reason.CRASH, detail=f"its pipelines crashed {health.restarts} times")
    answered = health.frames + health.errors
    bad = health.errors + health.bad_outputs
    enough = min(MIN_JUDGED, max(1, wanted.frames))
    if answered >= enough and bad > rules.max_bad_share * answered:
        return Verdict(
            failed=Reason.BAD_OUTPUT,
            detail=f"{bad} of {answered} answers were errors, NaN or constant"
            f" (at most {rules.max_bad_share:.0%} are accepted)",
        )
    limit_ms = rules.max_latency * 1000
    if health.frames >= enough and health.p95_ms > limit_ms:
        return Verdict(
            failed=Reason.LATENCY,
            detail=f"95 % of the inferences took up to {health.p95_ms:.1f} ms"
            f" (at most {limit_ms:.0f} ms are accepted)",
        )
    if wanted.frames and not answered and health.elapsed_s >= max(rules.stall, wanted.s):
        return Verdict(
            failed=Reason.NO_PROGRESS,
            detail=f"not one inference in {health.elapsed_s:.0f} s",
        )
    return None


def _label_shift(
    rules: UpdateRules, now: Mapping[str, int], before: Mapping[str, int]
) -> Verdict | None:
    least = max(1, rules.behaviour.min_frames)
    if sum(now.values()) < least or sum(before.values()) < least:
        return None
    shift = total_variation(now, before)
    if shift <= rules.behaviour.max_label_shift:
        return None
    return Verdict(
        failed=Reason.BEHAVIOUR,
        detail=f"the mix of labels moved by {shift:.2f} of 1 against the bundle before"
        f" (at most {rules.behaviour.max_label_shift:.2f} are accepted)",
    )
