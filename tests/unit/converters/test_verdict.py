"""The verdict: pass, fallback or refused, from what was asked, made and refused."""

from collections.abc import Mapping

import pytest

from converters.arena import Step, peak_bytes
from converters.latency import MIN_RUNS, WARM_UP, time_interleaved
from converters.outcome import Conversion, JudgedVariant, Refusal, RefusedNode
from converters.outcome_table import remarks
from converters.recipe import Output
from converters.variant_latency import fastest
from converters.variants import VariantFile
from converters.verdict import Judgement, judge_outcome
from edgeops.contracts.scalars import Precision, Runtime

BUDGET = 0.01


def output(text: str) -> Output:
    runtime, _, precision = text.partition("-")
    runtimes: dict[str, Runtime] = {"onnx": "onnx", "tflite": "tflite"}
    precisions: dict[str, Precision] = {
        "int8": "int8", "float32": "float32", "float16": "float16", "int16x8": "int16x8",
    }  # fmt: skip
    return Output(runtime=runtimes[runtime], precision=precisions[precision])


def variant(
    text: str, drop: float | None = 0.0, *, islands: tuple[str, ...] = (), p50: float = 1.0
) -> JudgedVariant:
    made = VariantFile(
        output=output(text), file=text, inputs=(), outputs=(), opset=0, float_islands=islands
    )
    return JudgedVariant(
        made=made, size_bytes=1, sha256="", answers=None, drop=drop, latency_ms={"p50": p50}
    )


def refusal(text: str, *, over_budget: bool = False) -> Refusal:
    wanted = output(text)
    return Refusal(
        runtime=wanted.runtime,
        precision=wanted.precision,
        reason="no",
        over_budget=over_budget,
    )


def judged(
    asked: str,
    made: Mapping[str, JudgedVariant],
    refusals: Mapping[str, Refusal] | None = None,
    sensitive: frozenset[str] = frozenset(),
) -> Judgement:
    return judge_outcome(
        [output(word) for word in asked.split()],
        {output(word): found for word, found in made.items()},
        {output(word): found for word, found in (refusals or {}).items()},
        BUDGET,
        sensitive,
    )


def made(*variants: JudgedVariant) -> dict[str, JudgedVariant]:
    return {found.id: found for found in variants}


def test_all_as_asked_within_the_budget_passes() -> None:
    found = judged(
        "tflite-int8 onnx-int8", made(variant("onnx-int8", 0.01), variant("tflite-int8"))
    )
    assert found.verdict == "pass"
    assert [kept.id for kept in found.kept] == ["tflite-int8", "onnx-int8"]
    assert not found.concessions


def test_files_without_data_to_judge_them_pass() -> None:
    assert judged("onnx-float16", made(variant("onnx-float16", None))).verdict == "pass"


def test_layers_kept_float_for_the_budget_are_a_fallback_and_named() -> None:
    files = made(variant("onnx-int8", islands=("soft", "head")))
    assert judged("onnx-int8", files).verdict == "pass"
    found = judged("onnx-int8", files, sensitive=frozenset({"head", "tail"}))
    assert found.verdict == "fallback"
    assert found.concessions == ("onnx-int8 keeps 1 layers in float for the budget: head",)


def test_a_replacement_stands_in_the_place_of_what_was_asked_for() -> None:
    found = judged(
        "tflite-int8 onnx-float32",
        made(variant("tflite-int16x8"), variant("onnx-float32")),
        {"tflite-int8": refusal("tflite-int8", over_budget=True)},
    )
    assert found.verdict == "fallback"
    assert [kept.id for kept in found.kept] == ["tflite-int16x8", "onnx-float32"]
    assert found.concessions == ("tflite int8 is not made: no; int16x8 takes its place",)


def test_int8_over_budget_does_not_take_the_float_file_with_it() -> None:
    found = judged(
        "onnx-int8 onnx-float32", made(variant("onnx-int8", 0.4), variant("onnx-float32"))
    )
    assert found.verdict == "fallback"
    assert [kept.id for kept in found.kept] == ["onnx-float32"]
    assert found.refusals[0].over_budget
    assert "loses 0.4000, at most 0.0100" in found.refusals[0].reason


@pytest.mark.parametrize("other", ["", " onnx-float32"])
def test_a_runtime_left_without_any_file_within_budget_refuses(other: str) -> None:
    files = made(variant("tflite-int8", 0.4), variant("onnx-float32"))
    if not other:
        del files["onnx-float32"]
    assert judged("tflite-int8" + other, files).verdict == "refused"


def test_a_runtime_without_a_form_of_the_model_leaves_the_other_ones_files() -> None:
    found = judged(
        "tflite-int8 onnx-int8",
        made(variant("onnx-int8")),
        {"tflite-int8": refusal("tflite-int8")},
    )
    assert found.verdict == "fallback"
    assert judged("tflite-int8", {}, {"tflite-int8": refusal("tflite-int8")}).verdict == "refused"


def test_the_fastest_is_measured_and_not_assumed() -> None:
    slow, quick = variant("onnx-int8", p50=2.0), variant("onnx-float32", p50=1.0)
    assert fastest([slow, quick]) == "onnx-float32"
    assert fastest([]) is None


class SteppingClock:
    """A clock on which every reading takes a millisecond."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    def wall(self) -> float:
        return self.monotonic()


def test_calls_are_timed_in_turns() -> None:
    order: list[str] = []
    latencies = time_interleaved(
        [lambda: order.append("a"), lambda: order.append("b")], SteppingClock(), seconds=0.05
    )
    turns = [word for index, word in enumerate(order) if index == 0 or order[index - 1] != word]
    assert turns[:2] == ["a", "b"]
    assert turns == ["a", "b"] * (len(turns) // 2)
    assert len(turns) >= 6
    assert all(latency.runs >= MIN_RUNS for latency in latencies)
    assert len(order) == sum(latency.runs for latency in latencies) + 2 * WARM_UP
    assert time_interleaved([], SteppingClock(), seconds=1.0) == []


def test_the_arena_holds_what_lives_at_the_same_time() -> None:
    # 0 -> 1 -> 2, and 0 is read again at the end: it lives throughout.
    sizes = {0: 160, 1: 320, 2: 32, 3: 16}
    steps = [Step((0,), (1,)), Step((1,), (2,)), Step((0, 2), (3,))]
    assert peak_bytes(sizes, steps, inputs=[0], outputs=[3]) == 160 + 320 + 32
    assert peak_bytes(sizes, steps[:2], inputs=[0], outputs=[2]) == 160 + 320
    assert peak_bytes({0: 1}, [], inputs=[0], outputs=[0]) == 16


def test_a_node_in_the_way_of_several_files_is_said_once() -> None:
    node = RefusedNode(node="odd", operator="Acosh", reason="no TFLite form", suggestion="wait")
    refusals = tuple(
        Refusal(runtime="tflite", precision=precision, reason="odd", nodes=(node,))
        for precision in ("int8", "float32")
    )
    done = Conversion(verdict="fallback", seconds=0.0, concessions=("a", "b"), refusals=refusals)

    assert remarks(done) == [
        "fallback: a",
        "fallback: b",
        "  odd (Acosh): no TFLite form - wait",
    ]
