"""One rule's life as a pure function: ok, pending, firing, clearing, ok; unknown without data.

Time is *evidence time*: the place in a recording or the monotonic clock of a live source. A hole
between two pieces of evidence longer than two usual distances proves nothing and is not counted
towards ``for`` and ``clear_for``.
"""

import statistics
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

GAP_PERIODS: Final = 2.0
_REMEMBERED: Final = 5
_ROUNDING_S: Final = 1e-6
"""Ten steps of a tenth of a second are a second, whatever binary fractions say."""


class Phase(StrEnum):
    """Where a rule is; the word goes to disk."""

    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    CLEARING = "clearing"
    UNKNOWN = "unknown"


class Effect(StrEnum):
    """What the step asks for."""

    RAISE = "raise"
    CLEAR = "clear"
    SUPPRESS = "suppress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The durations of one rule, in seconds.

    Attributes:
        cooldown_s: After a raised alert no further one is raised for so long; a condition that
            still holds then is raised then. An alert held back does not prolong it.
    """

    for_s: float = 0.0
    clear_for_s: float = 0.0
    cooldown_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """All that a rule remembers; small enough to be stored with each alert.

    Attributes:
        held_s: Evidence time for which the condition of the phase has held.
        cooldown_left_s: Evidence time until the next alert may be raised.
        alert_id: The open alert, or empty.
        held_back: Whether the present condition was already counted as held back.
        last_t: Time of the last evidence; ``None`` after a start.
        distances: The last distances between pieces of evidence, in seconds.
    """

    phase: Phase = Phase.OK
    held_s: float = 0.0
    cooldown_left_s: float = 0.0
    alert_id: str = ""
    held_back: bool = False
    last_t: float | None = None
    distances: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the two conditions say at one point of evidence time."""

    t: float
    when: bool
    clear: bool


def step(
    state: RuleState, evidence: Evidence, timing: Timing
) -> tuple[RuleState, tuple[Effect, ...]]:
    """Return the state after one piece of evidence and what it asks for.

    The caller gives a raised alert its id through ``opened``.
    """
    passed_s, counted_s, distances = _elapsed(state, evidence.t)
    state = replace(
        state,
        last_t=evidence.t,
        distances=distances,
        cooldown_left_s=max(0.0, state.cooldown_left_s - passed_s),
    )
    if state.phase is Phase.UNKNOWN:
        resumed = Phase.FIRING if state.alert_id else Phase.OK
        state = replace(state, phase=resumed, held_s=0.0)
        counted_s = 0.0
    if state.phase in {Phase.OK, Phase.PENDING}:
        return _quiet(state, evidence, timing, counted_s)
    return _loud(state, evidence, timing, counted_s)


def opened(state: RuleState, alert_id: str, timing: Timing) -> RuleState:
    """Return the state once the alert was sent: only now the cooldown starts."""
    return replace(state, alert_id=alert_id, cooldown_left_s=timing.cooldown_s)


def missing(state: RuleState) -> RuleState:
    """Return the state when no evidence came for too long; an open alert stays open."""
    return replace(state, phase=Phase.UNKNOWN, held_s=0.0, held_back=False)


def restarted(state: RuleState) -> RuleState:
    """Return a stored state for a new start: evidence time begins anew, alerts stay open."""
    return replace(state, last_t=None, distances=())


def _quiet(
    state: RuleState, evidence: Evidence, timing: Timing, counted_s: float
) -> tuple[RuleState, tuple[Effect, ...]]:
    if not evidence.when:
        return replace(state, phase=Phase.OK, held_s=0.0, held_back=False), ()
    held_s = state.held_s + counted_s if state.phase is Phase.PENDING else 0.0
    state = replace(state, phase=Phase.PENDING, held_s=held_s)
    if held_s + _ROUNDING_S < timing.for_s:
        return state, ()
    if state.cooldown_left_s > _ROUNDING_S:
        effects = () if state.held_back else (Effect.SUPPRESS,)
        return replace(state, held_back=True), effects
    return replace(state, phase=Phase.FIRING, held_s=0.0, held_back=False), (Effect.RAISE,)


def _loud(
    state: RuleState, evidence: Evidence, timing: Timing, counted_s: float
) -> tuple[RuleState, tuple[Effect, ...]]:
    if not evidence.clear:
        return replace(state, phase=Phase.FIRING, held_s=0.0), ()
    held_s = state.held_s + counted_s if state.phase is Phase.CLEARING else 0.0
    state = replace(state, phase=Phase.CLEARING, held_s=held_s)
    if held_s + _ROUNDING_S < timing.clear_for_s:
        return state, ()
    return replace(state, phase=Phase.OK, held_s=0.0, alert_id=""), (Effect.CLEAR,)


def _elapsed(state: RuleState, t: float) -> tuple[float, float, tuple[float, ...]]:
    """Return (time passed, time that counts as evidence, distances remembered)."""
    if state.last_t is None or t <= state.last_t:
        return 0.0, 0.0, state.distances
    distance = t - state.last_t
    distances = (*state.distances, distance)[-_REMEMBERED:]
    if not state.distances:
        return distance, 0.0, distances  # nothing yet says what a usual distance is
    usual = statistics.median(state.distances)
    counted = distance if distance <= GAP_PERIODS * usual + _ROUNDING_S else 0.0
    return distance, counted, distances
