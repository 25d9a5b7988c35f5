"""The language of rules: what it reads, and how it says what it does not."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.evaluate import Answer, figures, holds
from agent.rules.grammar import (
    MAX_DEPTH,
    MAX_LENGTH,
    Call,
    Compare,
    calls,
    labels_named,
    mismatches,
    parse,
    tasks_possible,
)
from edgeops.contracts.result import Detection, Result
from edgeops.errors import ContractError

BOX = (0.0, 0.0, 1.0, 1.0)


def _scene(*objects: tuple[str, float]) -> Answer:
    found = tuple(Detection(label=label, score=score, box=BOX) for label, score in objects)
    return Answer(Result(task="detection", objects=found), ("person", "cell phone"))


def _classes(**scores: float) -> Answer:
    best = max(scores, key=lambda name: scores[name])
    result = Result(
        task="classification", label=best, score=scores[best], scores=tuple(scores.values())
    )
    return Answer(result, tuple(scores))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count(person) >= 2", True),
        ("count(person) > 2", False),
        ("count(person, 0.8) == 1", True),
        ('count("cell phone") != 0', True),
        ("score(person) > 0.89", True),
        ("score(dog) == 0", True),
        ("not count(person) >= 1", False),
        ("not not count(person) >= 1", True),
        ("count(dog) > 0 or count(person) > 0 and score(person) > 0.95", False),
        ("(count(dog) > 0 or count(person) > 0) and score(person) > 0.5", True),
        ("count(person)>=1e0", True),
        ("count(person) > -1.5", True),
    ],
)
def test_a_scene_is_judged(text: str, expected: bool) -> None:
    scene = _scene(("person", 0.9), ("person", 0.5), ("cell phone", 0.4))

    assert holds(parse(text), scene) is expected


def test_classes_are_judged_by_score_and_by_label() -> None:
    answer = _classes(empty=0.1, good=0.2, defect=0.7)

    assert holds(parse("score(defect) > 0.6 and label(defect) == 1"), answer)
    assert not holds(parse("label(good) == 1"), answer)
    assert figures(parse("score(good) > 0.6 or score(defect) > 0.6"), answer) == {
        "score(good)": 0.2,
        "score(defect)": 0.7,
    }


@pytest.mark.parametrize(
    ("task", "text"), [("anomaly", "anomaly() > 0.5"), ("regression", "value() > 0.5")]
)
def test_single_figures_are_judged(task: str, text: str) -> None:
    result = Result(task=task, score=0.7)  # type: ignore[arg-type]  # parametrized literals

    assert holds(parse(text), Answer(result, ()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a function (one of anomaly, count, label, score, value) at character 1"),
        ("count(person)", "expected a comparison such as > or == at character 14, found the end"),
        ("count(person) > ", "expected a number at character 16, found the end"),
        ("cuont(person) > 1", "expected a function ('count') at character 1, found 'cuont'"),
        ("count() > 1", "expected a label at character 7, found ')'"),
        ("count(person, x) > 1", "expected a number at character 15, found 'x'"),
        ("count(person, 1, 2) > 1", "expected ')' at character 16, found ','"),
        ("anomaly(x) > 1", "expected ')' at character 9, found 'x'"),
        ("score(a) > 1 score(b) > 1", "expected 'and', 'or' or the end at character 14"),
        ("(score(a) > 1", "expected ')' at character 14, found the end"),
        ("score(a) > 1; import os", "cannot read '; import os' at character 13"),
        ("score(a) > 1abc", "cannot read '1abc' at character 12"),
        ("__import__(os) > 1", "expected a function"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(text)

    assert reason in caught.value.reason


def test_length_and_depth_are_bounded() -> None:
    deep = "(" * MAX_DEPTH + "anomaly() > 1" + ")" * MAX_DEPTH
    long = "anomaly() > 1" + " " * MAX_LENGTH

    with pytest.raises(ContractError, match="nested deeper"):
        parse(deep)
    with pytest.raises(ContractError, match="nested deeper"):
        parse("not " * 100 + "anomaly() > 1")
    with pytest.raises(ContractError, match="at most 500 are read"):
        parse(long)


@given(st.text(alphabet=string.ascii_lowercase + string.digits + '()<>=!,." -', max_size=80))
def test_any_text_is_read_or_refused_in_one_way(text: str) -> None:
    with contextlib.suppress(ContractError):
        assert list(calls(parse(text))), "an expression asks something"


@given(
    label=st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,10}", fullmatch=True),
    number=st.floats(min_value=0, max_value=1e6, allow_nan=False),
)
def test_a_call_is_read_as_it_is_written(label: str, number: float) -> None:
    expression = parse(f"count({label}) >= {number!r}")

    assert expression == Compare(Call("count", label), ">=", number)
    assert str(Call("count", label)) == f"count({label})"
    assert labels_named(expression) == {label}


def test_rules_are_held_against_task_and_labels() -> None:
    labels = ("empty", "good", "defect")

    assert not list(mismatches(parse("score(defect) > 1"), "classification", labels))
    assert not list(mismatches(parse("label(anomaly) == 1"), "anomaly", ()))
    assert list(mismatches(parse("score(defct) > 1"), "classification", labels)) == [
        "the model has no label 'defct'; did you mean 'defect'?"
    ]
    assert list(mismatches(parse("anomaly() > 1"), "classification", labels)) == [
        "anomaly() cannot be asked of a model for classification; it answers label, score"
    ]


def test_functions_narrow_the_tasks() -> None:
    assert tasks_possible(parse("count(person) > 1 and score(person) > 1")) == {"detection"}
    assert tasks_possible(parse("count(person) > 1 and anomaly() > 1")) == set()
