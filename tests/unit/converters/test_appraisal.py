"""Judging in depth: what speaks against the float original itself."""

from collections.abc import Sequence

import pytest

from converters.appraisal import appraise
from converters.evaluation import Answers
from converters.metrics import Metric, Truth
from converters.outcome import JudgedVariant
from converters.recipe import Output
from converters.variants import VariantFile
from edgeops.contracts.manifest import Task
from edgeops.contracts.result import Result

LABELS = ("red", "green", "blue")
TASK = Task(type="classification", labels=LABELS)
FLOAT = Output(runtime="onnx", precision="float32")


def original(truth: Sequence[str], said: Sequence[str]) -> JudgedVariant:
    results = tuple(
        Result(task="classification", label=label, score=0.8, scores=(0.8, 0.15, 0.05))
        for label in said
    )
    answers = Answers(
        results=results,
        truths=tuple(Truth(label=label) for label in truth),
        slices=tuple({} for _ in truth),
    )
    made = VariantFile(output=FLOAT, file="models/a", inputs=(), outputs=(), opset=17)
    return JudgedVariant(made=made, size_bytes=1, sha256="0" * 64, answers=answers)


EACH = [label for label in LABELS for _ in range(30)]
MOSTLY_RED = ["red"] * 80 + ["green"] * 10


@pytest.mark.parametrize(
    ("truth", "said", "doubted"),
    [
        (EACH, EACH, False),
        (EACH, [label for label in (*LABELS[1:], LABELS[0]) for _ in range(30)], True),
        (EACH, ["red"] * 90, True),
        (EACH, ["red"] * 60 + ["blue"] * 30, False),
        (MOSTLY_RED, ["red"] * 60 + ["green"] * 30, False),
        (["red"] * 90, ["blue"] * 90, False),
        ([""] * 90, EACH, False),
    ],
    ids=["right", "other-order", "same", "one-told-apart", "below-majority", "one-class", "bare"],
)
def test_an_original_that_only_guesses_is_doubted(
    truth: list[str], said: list[str], doubted: bool
) -> None:
    metric: Metric = "top1" if all(truth) else "agreement"

    found = appraise(TASK, metric, original(truth, said), [])

    assert bool(found.warnings) == doubted
    if doubted:
        assert "no more than by chance: are the labels in the model's order" in found.warnings[0]
