"""ONNX's own operator cases: the lowering is right or refuses, never silently wrong."""

import copy

import numpy as np
import pytest

from converters.tflite.conformance import cases, judge

CASES = {str(case.name): case for case in cases()}
CHUNKS = 16
"""The cases are judged in groups: a test per case would cost more than the case."""


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_onnx_cases_are_right_or_refused(chunk: int) -> None:
    wrong = [
        outcome
        for name in sorted(CASES)[chunk::CHUNKS]
        if (outcome := judge(CASES[name])).verdict == "wrong"
    ]

    assert wrong == []


def test_a_wrong_answer_is_noticed() -> None:
    """The judge itself can say no: with another expectation the same case is wrong."""
    case = copy.copy(CASES["test_relu"])
    inputs, outputs = case.data_sets[0]
    case.data_sets = [(inputs, [np.asarray(outputs[0]) + np.float32(0.01)])]

    assert judge(case).verdict == "wrong"
    assert judge(CASES["test_relu"]).verdict == "passed"
