"""The rules of all pipelines with their states: results go in, alert events come out."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from agent.rules.evaluate import Answer, figures, holds
from agent.rules.grammar import Expression, Negation, mismatches
from agent.rules.machine import (
    Effect,
    Evidence,
    Phase,
    RuleState,
    Timing,
    missing,
    opened,
    restarted,
    step,
)
from edgeops import codec
from edgeops.clock import Clock, trust_of
from edgeops.contracts.alert import AlertEvent, Severity
from edgeops.contracts.manifest import TaskType
from edgeops.errors import ContractError

logger = logging.getLogger(__name__)

MAX_MESSAGE: Final = 1000
STATE_KEY: Final = "rules"
"""Key under which the states of all rules are stored with each alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the configuration, parsed.

    Attributes:
        clear: What ends the alert; by default ``not when``.
        missing_s: Without evidence for so long the rule is unknown; ``None``: never.
        do: Names of the actions to run.
    """

    name: str
    pipeline: str
    when: Expression
    clear: Expression
    timing: Timing = field(default_factory=Timing)
    missing_s: float | None = None
    severity: Severity = "medium"
    do: tuple[str, ...] = ()


def default_clear(when: Expression) -> Expression:
    """Return what ends an alert whose rule does not say it."""
    return Negation(when)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleStatus:
    """One rule for people and the local API."""

    name: str
    pipeline: str
    phase: Phase
    alert_id: str = ""
    raised: int = 0
    suppressed: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """States as they go to disk."""

    schema: int = 1
    rules: dict[str, RuleState] = field(default_factory=dict)
    pipelines: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Entry:
    rule: Rule
    state: RuleState = field(default_factory=RuleState)
    raised: int = 0
    suppressed: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class _About:
    """What an event says of its rule; of a removed rule only name and pipeline are left."""

    rule: str
    pipeline: str
    severity: Severity = "medium"
    do: tuple[str, ...] = ()
    model: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """An alert event, the states to store with it, and the actions that it calls for."""

    event: AlertEvent
    states: bytes
    do: tuple[str, ...]


class RuleBook:
    """Steps every rule of a pipeline; safe to call from several threads.

    Args:
        stored: What ``dump`` gave before the last stop, or ``None``.
        on_decision: Called for each raised or cleared alert, in order, under the book's lock:
            it must store and hand on without waiting.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        device: str,
        boot: str,
        clock: Clock,
        on_decision: Callable[[Decision], None],
        stored: bytes | None = None,
    ) -> None:
        self._device = device
        self._boot = boot
        self._clock = clock
        self._on_decision = on_decision
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._entries = {rule.name: _Entry(rule) for rule in rules}
        self._orphans: dict[str, tuple[str, RuleState]] = {}
        self._restore(stored)

    def start(self) -> None:
        """Clear the open alerts of rules that the configuration no longer has."""
        with self._lock:
            self._clear_orphans()

    def evidence(self, pipeline: str, t: float, answer: Answer, model: str) -> None:
        """Step the rules of ``pipeline`` with one answer at evidence time ``t``."""
        with self._lock:
            for entry in self._of(pipeline):
                rule = entry.rule
                seen = Evidence(t, holds(rule.when, answer), holds(rule.clear, answer))
                self._step(entry, seen, answer, model)

    def silence(self, pipeline: str, silent_s: float) -> None:
        """Say that ``pipeline`` has had no evidence for ``silent_s`` seconds."""
        with self._lock:
            for entry in self._of(pipeline):
                limit = entry.rule.missing_s
                if limit is not None and silent_s >= limit:
                    if entry.state.phase is not Phase.UNKNOWN:
                        logger.warning("rule %s: no data for %.0f s", entry.rule.name, silent_s)
                    entry.state = missing(entry.state)

    def recording_ended(self, pipeline: str) -> None:
        """Close a finished recording: open alerts are cleared, the next run starts afresh."""
        with self._lock:
            for entry in self._of(pipeline):
                state, entry.state = entry.state, RuleState()
                if state.alert_id:
                    rule = entry.rule
                    about = _About(rule.name, pipeline, rule.severity, rule.do)
                    self._close(about, state, "the recording ended")

    def suits(self, pipeline: str, task: TaskType, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Note and return what the rules of ``pipeline`` ask that this model cannot answer."""
        faults: list[str] = []
        with self._lock:
            for entry in self._of(pipeline):
                found = list(
                    dict.fromkeys(
                        sentence
                        for expression in (entry.rule.when, entry.rule.clear)
                        for sentence in mismatches(expression, task, labels)
                    )
                )
                entry.note = "; ".join(found)
                faults.extend(f"rule {entry.rule.name}: {sentence}" for sentence in found)
        return tuple(faults)

    def change(self, rules: Iterable[Rule]) -> None:
        """Take new rules; those that keep their name and pipeline keep their state."""
        with self._lock:
            old, self._entries = self._entries, {}
            for rule in rules:
                kept = old.pop(rule.name, None)
                if kept is not None and kept.rule.pipeline == rule.pipeline:
                    self._entries[rule.name] = replace(kept, rule=rule)
                else:
                    self._entries[rule.name] = _Entry(rule)
                    if kept is not None:
                        old[rule.name] = kept
            for name, entry in old.items():
                if entry.state.alert_id:
                    self._orphans[name] = (entry.rule.pipeline, entry.state)
            self._clear_orphans()

    def dump(self) -> bytes:
        """Return all states, to be stored."""
        with self._lock:
            return self._dump()

    def status(self) -> tuple[RuleStatus, ...]:
        """Return every rule as it stands."""
        with self._lock:
            return tuple(
                RuleStatus(
                    name=name,
                    pipeline=entry.rule.pipeline,
                    phase=entry.state.phase,
                    alert_id=entry.state.alert_id,
                    raised=entry.raised,
                    suppressed=entry.suppressed,
                    note=entry.note,
                )
                for name, entry in self._entries.items()
            )

    def _of(self, pipeline: str) -> list[_Entry]:
        return [entry for entry in self._entries.values() if entry.rule.pipeline == pipeline]

    def _step(self, entry: _Entry, seen: Evidence, answer: Answer, model: str) -> None:
        rule, alert_id = entry.rule, entry.state.alert_id
        entry.state, effects = step(entry.state, seen, rule.timing)
        about = _About(rule.name, rule.pipeline, rule.severity, rule.do, model)
        for effect in effects:
            if effect is Effect.SUPPRESS:
                entry.suppressed += 1
            elif effect is Effect.RAISE:
                entry.raised += 1
                number = self._next_id()
                entry.state = opened(entry.state, number, rule.timing)
                evidence = figures(rule.when, answer)
                shown = ", ".join(f"{name} = {value:.4g}" for name, value in evidence.items())
                self._decide(
                    about,
                    "raised",
                    event_id=number,
                    alert_id=number,
                    t=seen.t,
                    evidence=evidence,
                    message=shown,
                )
            else:
                evidence = figures(rule.clear, answer)
                self._decide(
                    about,
                    "cleared",
                    event_id=self._next_id(),
                    alert_id=alert_id,
                    t=seen.t,
                    evidence=evidence,
                    message="cleared",
                )

    def _close(self, about: _About, state: RuleState, why: str) -> None:
        """Clear an open alert for another reason than evidence."""
        self._decide(
            about,
            "cleared",
            event_id=self._next_id(),
            alert_id=state.alert_id,
            t=state.last_t or 0.0,
            evidence={},
            message=why,
        )

    def _next_id(self) -> str:
        return f"{self._boot}-{next(self._numbers)}"

    def _decide(
        self,
        about: _About,
        state: Literal["raised", "cleared"],
        *,
        event_id: str,
        alert_id: str,
        t: float,
        evidence: dict[str, float],
        message: str,
    ) -> None:
        wall = self._clock.wall()
        event = AlertEvent(
            device=self._device,
            boot=self._boot,
            event_id=event_id,
            alert_id=alert_id,
            state=state,
            rule=about.rule,
            pipeline=about.pipeline,
            severity=about.severity,
            t=t,
            wall=wall,
            clock=trust_of(wall),
            evidence=evidence,
            model=about.model,
            message=f"{about.rule}: {message}"[:MAX_MESSAGE],
        )
        self._on_decision(Decision(event, self._dump(), about.do))

    def _dump(self) -> bytes:
        stored = _Stored(
            rules={name: entry.state for name, entry in self._entries.items()},
            pipelines={name: entry.rule.pipeline for name, entry in self._entries.items()},
        )
        return codec.canonical(stored)

    def _restore(self, data: bytes | None) -> None:
        if data is None:
            return
        try:
            stored = codec.decode(data, _Stored, where="rule states")
        except ContractError as error:
            logger.error("stored rule states are set aside: %s", error)  # noqa: TRY400
            return
        for name, state in stored.rules.items():
            entry = self._entries.get(name)
            pipeline = stored.pipelines.get(name, "")
            if entry is not None and entry.rule.pipeline == pipeline:
                entry.state = restarted(state)
            elif state.alert_id:
                self._orphans[name] = (pipeline, state)

    def _clear_orphans(self) -> None:
        orphans, self._orphans = self._orphans, {}
        for name, (pipeline, state) in orphans.items():
            self._close(_About(name, pipeline), state, "the rule was removed")
