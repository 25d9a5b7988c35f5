"""The rules of a device together: events, stored states, restarts, changes of the configuration."""

import pytest

from agent.rules.evaluate import Answer
from agent.rules.grammar import parse
from agent.rules.machine import Phase, Timing
from agent.rules.rulebook import Decision, Rule, RuleBook, default_clear
from edgeops.contracts.result import Result


class FixedClock:
    """A device without a real-time clock: it believes in 1970."""

    def wall(self) -> float:
        return 12.0

    def monotonic(self) -> float:
        return 12.0


def rule(name: str = "defect", pipeline: str = "belt", when: str = "score(defect) > 0.6") -> Rule:
    expression = parse(when)
    return Rule(
        name=name,
        pipeline=pipeline,
        when=expression,
        clear=default_clear(expression),
        timing=Timing(),
        missing_s=5.0,
        severity="high",
        do=("log",),
    )


def book(
    *rules: Rule, stored: bytes | None = None, boot: str = "b1"
) -> tuple[RuleBook, list[Decision]]:
    decisions: list[Decision] = []
    made = RuleBook(
        rules,
        device="d1",
        boot=boot,
        clock=FixedClock(),
        on_decision=decisions.append,
        stored=stored,
    )
    return made, decisions


def answer(defect: float) -> Answer:
    scores = (1.0 - defect, defect)
    label = "defect" if defect > 0.5 else "good"
    result = Result(task="classification", label=label, score=max(scores), scores=scores)
    return Answer(result, ("good", "defect"))


def test_an_alert_carries_its_evidence_and_the_state_that_made_it() -> None:
    made, decisions = book(rule())
    made.evidence("belt", 1.0, answer(0.1), "sha256:1")
    made.evidence("belt", 2.0, answer(0.9), "sha256:1")
    made.evidence("other", 2.5, answer(0.1), "sha256:1")
    made.evidence("belt", 3.0, answer(0.2), "sha256:2")

    raised, cleared = (decision.event for decision in decisions)
    assert (raised.state, raised.t, raised.event_id, raised.alert_id) == (
        "raised",
        2.0,
        "b1-1",
        "b1-1",
    )
    assert raised.evidence == {"score(defect)": 0.9}
    assert (raised.severity, raised.clock, raised.model) == ("high", "bad", "sha256:1")
    assert (cleared.state, cleared.event_id, cleared.alert_id) == ("cleared", "b1-2", "b1-1")
    assert cleared.model == "sha256:2"
    assert decisions[0].do == ("log",)


def test_what_is_stored_with_an_alert_is_enough_to_go_on() -> None:
    made, decisions = book(rule())
    made.evidence("belt", 2.0, answer(0.9), "m")

    again, later = book(rule(), stored=decisions[0].states, boot="b2")
    again.start()
    again.evidence("belt", 0.5, answer(0.9), "m")
    assert later == []
    again.evidence("belt", 0.6, answer(0.1), "m")

    assert [(d.event.state, d.event.alert_id, d.event.event_id) for d in later] == [
        ("cleared", "b1-1", "b2-1")
    ]


def test_stored_states_that_cannot_be_read_are_set_aside() -> None:
    made, decisions = book(rule(), stored=b'{"rules": 3}')
    made.start()
    made.evidence("belt", 1.0, answer(0.9), "m")

    assert len(decisions) == 1


def test_an_open_alert_of_a_removed_rule_is_cleared_at_the_start() -> None:
    made, decisions = book(rule())
    made.evidence("belt", 2.0, answer(0.9), "m")

    again, later = book(rule(name="new"), stored=decisions[0].states, boot="b2")
    again.start()

    assert [(d.event.rule, d.event.state, d.event.message) for d in later] == [
        ("defect", "cleared", "defect: the rule was removed")
    ]
    _, none = book(rule(name="new"), stored=later[0].states, boot="b3")
    assert none == []


def test_a_change_keeps_states_and_clears_what_is_gone() -> None:
    made, decisions = book(rule(), rule(name="second"))
    made.evidence("belt", 2.0, answer(0.9), "m")
    made.change([rule(when="score(defect) > 0.8"), rule(name="third")])
    made.evidence("belt", 3.0, answer(0.9), "m")

    words = [(d.event.rule, d.event.state) for d in decisions]
    assert words == [
        ("defect", "raised"),
        ("second", "raised"),
        ("second", "cleared"),
        ("third", "raised"),
    ]


def test_a_finished_recording_clears_and_starts_afresh() -> None:
    made, decisions = book(rule())
    for _ in range(2):
        made.evidence("belt", 2.0, answer(0.9), "m")
        made.recording_ended("belt")

    assert [d.event.state for d in decisions] == ["raised", "cleared", "raised", "cleared"]
    assert {d.event.t for d in decisions} == {2.0}


def test_silence_makes_a_rule_unknown_and_data_brings_it_back() -> None:
    made, decisions = book(rule())
    made.evidence("belt", 1.0, answer(0.9), "m")
    made.silence("belt", 4.9)
    assert made.status()[0].phase is Phase.FIRING
    made.silence("belt", 5.0)
    assert made.status()[0].phase is Phase.UNKNOWN
    made.evidence("belt", 20.0, answer(0.9), "m")

    status = made.status()[0]
    assert (status.phase, status.alert_id, status.raised) == (Phase.FIRING, "b1-1", 1)
    assert len(decisions) == 1


@pytest.mark.parametrize(
    ("task", "labels", "count"),
    [("classification", ("good", "defect"), 0), ("classification", ("a",), 1), ("anomaly", (), 1)],
)
def test_a_model_that_cannot_answer_a_rule_is_noted(
    task: str, labels: tuple[str, ...], count: int
) -> None:
    made, _ = book(rule())

    faults = made.suits("belt", task, labels)  # type: ignore[arg-type]  # parametrized literals

    assert len(faults) == count
    assert bool(made.status()[0].note) is bool(count)
