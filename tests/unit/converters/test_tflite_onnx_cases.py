"""ONNX's own operator cases: the lowering is right or refuses, never silently wrong."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest

from converters.operator_table import counts, operators, table
from converters.tflite.catalog import HANDLERS
from converters.tflite.conformance import Outcome, cases, is_expanded, judge, summary, tally

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "operators.md"


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [judge(case) for case in cases()]


def test_onnx_cases_are_right_or_refused(outcomes: list[Outcome]) -> None:
    assert [outcome for outcome in outcomes if outcome.verdict == "wrong"] == []


def test_hundreds_of_onnx_cases_pass(outcomes: list[Outcome]) -> None:
    plain = tally(outcome for outcome in outcomes if not is_expanded(outcome))

    assert plain["passed"] >= 400


def test_every_refusal_says_why(outcomes: list[Outcome]) -> None:
    assert all(outcome.detail for outcome in outcomes if outcome.verdict == "refused")


def test_the_operator_page_is_what_the_code_says(outcomes: list[Outcome]) -> None:
    """Rewrite it with ``python -m converters.operator_table docs/reference/operators.md``."""
    text = PAGE.read_text(encoding="utf-8")

    assert table() in text
    if f"With onnx {onnx.__version__}:" in text:
        assert counts(onnx.__version__, summary(outcomes)) in text
    assert set(HANDLERS) <= set(operators())


def test_a_wrong_answer_is_noticed() -> None:
    """The judge itself can say no: with another expectation the same case is wrong."""
    right = next(case for case in cases() if case.name == "test_relu")
    wrong = copy.copy(right)
    inputs, outputs = right.data_sets[0]
    wrong.data_sets = [(inputs, [np.asarray(outputs[0]) + np.float32(0.01)])]

    assert judge(wrong).verdict == "wrong"
    assert judge(right).verdict == "passed"
