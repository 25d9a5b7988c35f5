"""The report: what it records, and that its page is whole, safe and needs no network."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from converters.appraisal import Appraisal, appraise
from converters.assessment import Figure
from converters.calibration import calibrate
from converters.evaluation import Answers
from converters.importing.importer import import_model
from converters.metrics import Truth
from converters.outcome import JudgedVariant, RefusedNode
from converters.quant.planner import plan_quantization
from converters.recipe import Output
from converters.release import make_card
from converters.report import words
from converters.report.__main__ import main as redraw
from converters.report.contents import (
    AttemptReport,
    BoardLatency,
    DataReport,
    ExamReport,
    Island,
    LayerError,
    Provenance,
    PrunedLayerReport,
    PruningReport,
    QuantizationReport,
    RefusalReport,
    Report,
    SensitivityReport,
    VariantReport,
    without_measurements,
)
from converters.report.files import write_beside, write_inside
from converters.report.layers import layer_errors
from converters.report.page import render
from converters.variants import VariantFile
from edgeops import codec
from edgeops.contracts.manifest import Card, Task
from edgeops.contracts.result import Result
from edgeops.errors import ContractError
from tests.unit.converters.nets import conv_net, feeds, floats, net, node

HOSTILE = "<script>alert('x')</script>\"&"
LABELS = ("left", "right", HOSTILE)
TASK = Task(type="classification", labels=LABELS)
INT8 = Output(runtime="onnx", precision="int8")


def answers(said: Sequence[str]) -> Answers:
    """Return answers to 90 samples, thirty of each class, from two sites."""
    return Answers(
        results=tuple(
            Result(task="classification", label=label, score=0.8, scores=(0.8, 0.15, 0.05))
            for label in said
        ),
        truths=tuple(Truth(label=label) for label in LABELS for _ in range(30)),
        slices=tuple({"site": f"<b>{index % 2}</b>"} for index in range(90)),
    )


def judged(output: Output, said: Sequence[str]) -> JudgedVariant:
    return JudgedVariant(
        made=VariantFile(output=output, file="models/a", inputs=(), outputs=(), opset=17),
        size_bytes=10_000,
        sha256="0" * 64,
        answers=answers(said),
        metrics={"top1": 0.9},
    )


def appraised() -> Appraisal:
    """Return the float original, always right, beside int8, which loses half of a class."""
    right = [label for label in LABELS for _ in range(30)]
    harmed = [*right[:60], *([LABELS[0]] * 15), *([LABELS[2]] * 15)]
    float32 = Output(runtime="onnx", precision="float32")
    return appraise(TASK, "top1", judged(float32, right), [judged(INT8, harmed)], ["site"])


def variant(name: str, appraisal: Appraisal, **changes: object) -> VariantReport:
    found = appraisal.variants[INT8]
    base = VariantReport(
        id=name,
        runtime="onnx",
        precision="int8",
        file=f"models/{name}",
        size_bytes=25_000,
        sha256="1" * 64,
        within_budget=True,
        quantized_macs=0.97,
        assessment=found.assessment,
        comparison=found.comparison,
        latency_ms={"p50": 0.5, "p95": 0.7},
        partitions=1,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # fields by name, in tests only


@pytest.fixture(scope="module")
def report() -> Report:
    """Return a report in which every section has something to say, much of it hostile."""
    appraisal = appraised()
    return Report(
        name="belt",
        version="1.2.0",
        verdict="fallback",
        task="classification",
        metric="top1",
        judged=True,
        budget=0.2,
        original=VariantReport(
            id="original",
            runtime="onnx",
            precision="float32",
            file="",
            size_bytes=100_000,
            sha256="2" * 64,
            within_budget=None,
            assessment=appraisal.original,
            latency_ms={"p50": 1.0, "p95": 1.2},
        ),
        variants=(
            variant("onnx-int8", appraisal),
            variant("tflite-int8", appraisal, runtime="tflite", fastest=True),
            variant("onnx-float16", appraisal, precision="float16", within_budget=False),
        ),
        refusals=(
            RefusalReport(
                id="tflite-float16",
                reason=f"node {HOSTILE} has no form",
                nodes=tuple(
                    RefusedNode(node=f"{HOSTILE}{i}", operator="Odd", reason="it is odd")
                    for i in range(3)
                ),
            ),
        ),
        concessions=("one layer stays in float.",),
        attempts=(
            AttemptReport(rung="minmax", kept_float=(), drop=0.4, within_budget=False),
            AttemptReport(
                rung="mse+8-float",
                kept_float=tuple(f"{HOSTILE}{i}" for i in range(8)),
                drop=0.1,
                within_budget=True,
            ),
        ),
        warnings=(f"look at {HOSTILE}",),
        calibration=DataReport(name=HOSTILE, sha256="3" * 64, size=200, used=100),
        evaluation=DataReport(name=HOSTILE, sha256="4" * 64, size=90, used=90),
        quantization=QuantizationReport(
            macs=12_000_000,
            quantized_macs=0.97,
            weight_bytes=100_000,
            quantized_bytes=0.95,
            tensors=12,
            methods={"minmax": 8, "mse": 4},
            layers=tuple(
                LayerError(
                    tensor=f"t{i}",
                    node=f"{HOSTILE}{i}",
                    operator="Conv",
                    sqnr_db=None if i == 3 else 45.0 - 5 * i,
                )
                for i in range(12)
            ),
            islands=(Island(node=HOSTILE, operator="Conv", reason=HOSTILE, macs=300_000),),
            sensitivities=(SensitivityReport(node=HOSTILE, noise=0.02, macs=300_000),),
        ),
        pruning=PruningReport(
            channels=(100, 80),
            parameters=(25_000, 18_000),
            macs=(20_000_000, 12_000_000),
            layers=(
                PrunedLayerReport(
                    node=HOSTILE, operator="Conv", before=16, after=8, error_cut=0.25
                ),
            ),
        ),
        exam=ExamReport(golden=16, tolerance=0.05, drift_samples=90, drift_labels={HOSTILE: 15}),
        card=Card(summary=HOSTILE, limits=f"two\nlines {HOSTILE}"),
        provenance=Provenance(
            source=HOSTILE,
            source_format="onnx",
            source_sha256="5" * 64,
            notes=(HOSTILE,),
            gate_samples=8,
            gate_difference=1e-6,
            tools={"onnx": "1.0", "numpy": ""},
            options={HOSTILE: HOSTILE},
        ),
        boards=(BoardLatency(board=HOSTILE, variant="onnx-int8", p50_ms=12.0),),
        digest="sha256:" + "6" * 64,
        seconds=3.2,
    )


def text_of(page: str) -> str:
    """Return the words of a page; a page that is not well-formed XML as well is refused."""
    body = page.removeprefix("<!DOCTYPE html>\n")
    root = ElementTree.fromstring(body)  # noqa: S314 - our own page
    return " ".join(" ".join(root.itertext()).split())


def test_page_is_well_formed_and_escapes_everything(report: Report) -> None:
    page = render(report)
    text = text_of(page)

    assert "<script" not in page
    assert HOSTILE in text
    assert text.count(HOSTILE) > 20


def test_page_needs_no_network_and_runs_no_script(report: Report) -> None:
    page = render(report)

    for word in ("http:", "https:", "src=", "href=", "@import", "url(", "<link", "onload", "//"):
        assert word not in page, word
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_first_screen_says_the_verdict_in_plain_words(report: Report) -> None:
    sentences = words.headline(report)

    assert words.verdict_title(report) == "Passed, but not exactly as asked"
    assert sentences[0] == (
        "The int8 ONNX model is 4.0 times smaller than the float original (25.0 kB) and 2.0 times "
        "faster on this machine."
    )
    assert sentences[1] == (
        "Every file is of the pruned model: 28\u00a0% of its weights were taken away first."
    )
    assert (
        "On 90 samples it reaches 83.3\u00a0% (right answers), the original 100.0\u00a0%"
        in sentences[2]
    )
    assert "a loss of 16.7 points, where a loss of 20.0 points was allowed" in sentences[2]
    assert "the true loss could be as large as" in sentences[2]
    assert sentences[-1] == "Not as asked: one layer stays in float."
    untimed = replace(report, original=replace(report.original, latency_ms={}))
    assert "faster" not in words.headline(untimed)[0], "the float file is of the pruned model too"
    text = text_of(render(report))
    assert text.index(sentences[0]) < text.index("The files")


def test_every_section_is_there(report: Report) -> None:
    text = text_of(render(report))

    for part in (
        "within budget",
        "over budget",
        "fastest",
        "1 partition",
        "Asked for, but not made",
        "hurts class",
        "97.0 % of 12.0 million multiply-accumulates",
        "minmax for 8, mse for 4 tensors",
        "mse+8-float",
        "and 2 more",
        "What stayed in float, and why",
        "channels; before 100",
        "16 8 0.25",
        "as devices of the fleet measured it",
        "16 golden samples",
        "Model card",
        "largest relative difference 1e-06",
        "took 3.2 s",
    ):
        assert part in text, part


def test_refused_conversion_says_so_first(report: Report) -> None:
    assert report.quantization is not None
    least_bad = replace(report.quantization, shipped=False)
    refused = replace(
        report,
        verdict="refused",
        variants=(),
        exam=None,
        boards=(),
        quantization=least_bad,
        attempts=report.attempts[:1],
    )

    text = text_of(render(refused))

    assert "Refused: nothing was shipped" in text
    assert "the best loses 40.0 points (right answers), 20.0 points was allowed" in text
    assert "A device takes" not in text
    assert "No device has measured this model yet" in text
    assert "about the least bad attempt, to show where it breaks" in text
    assert "Error at each layer" in text


def test_a_refusal_for_one_runtime_does_not_blame_the_other(report: Report) -> None:
    lost = RefusalReport(id="tflite-int8", reason="loses 0.3000", over_budget=True)
    refused = replace(
        report, verdict="refused", variants=report.variants[:1], refusals=(lost,), exam=None
    )

    sentences = words.headline(refused)

    assert "only the int8 ONNX model" in sentences[0]
    assert "tflite-int8: loses 0.3000" in sentences[0]
    assert not any("Nothing that was tried" in sentence for sentence in sentences)
    assert "thrown away" in text_of(render(refused))


def test_a_refusal_without_a_ladder_tells_what_was_over_budget(report: Report) -> None:
    lost = RefusalReport(id="onnx-float16", reason="loses 0.3000", over_budget=True)
    refused = replace(
        report, verdict="refused", variants=(), refusals=(lost,), attempts=(), exam=None
    )

    assert words.headline(refused)[0] == "No file is accurate enough. onnx-float16: loses 0.3000."


def test_an_error_that_grew_is_not_shown_as_a_fall(report: Report) -> None:
    first = report.variants[0]
    assert first.comparison is not None
    grown = replace(first, comparison=replace(first.comparison, drop=Figure(value=0.05)))

    assert words.change_text("mse", 0.05) == "+5.0 %"
    assert words.change_text("mse", -0.0001) == "0.0 %"
    assert words.change_text("top1", 0.05) == "-5.0 points"
    assert "-5.0 points change" in text_of(render(replace(report, variants=(grown,))))


def test_nothing_judged_is_not_called_passed(report: Report) -> None:
    assert words.verdict_title(replace(report, judged=False)).startswith("Made, not judged")


def test_nothing_judged_is_not_called_accurate(report: Report) -> None:
    blind = replace(
        report,
        verdict="pass",
        judged=False,
        concessions=(),
        original=replace(report.original, assessment=None),
        variants=tuple(
            replace(v, assessment=None, comparison=None, within_budget=None)
            for v in report.variants
        ),
        evaluation=None,
    )

    text = text_of(render(blind))

    assert "Made, but not judged" in text
    assert "Nobody knows how right it is" in text


def test_document_inside_the_bundle_holds_no_measurements(report: Report, tmp_path: Path) -> None:
    ref = write_inside(tmp_path, report)
    page = write_beside(tmp_path, report)
    slower = replace(
        report,
        seconds=99.0,
        digest="",
        variants=tuple(replace(v, latency_ms={"p50": 9.0}) for v in report.variants),
    )

    assert without_measurements(report) != report
    assert write_inside(tmp_path, slower) == ref
    assert page.name == "belt-1.2.0.report.html"
    kept = codec.read(page.with_suffix(".json"), Report, where="report")
    assert kept == report


def test_harm_reaches_warnings_and_card() -> None:
    appraisal = appraised()
    stated = Card(summary="s", limits="Not for people.")

    card = make_card(stated, judged(INT8, [LABELS[0]] * 90), appraisal)

    (warning,) = appraisal.warnings
    assert f"onnx int8 hurts class {HOSTILE!r} more than the rest: 100.0% to 50.0%" in warning
    assert card.limits.startswith("Not for people.\nonnx-int8 hurts class")
    assert card.metrics["top1_low"] < card.metrics["top1"] < card.metrics["top1_high"]
    row = card.per_class[HOSTILE]
    assert (row["recall"], row["original_recall"], row["samples"]) == (0.5, 1.0, 30.0)


def test_card_of_very_many_classes_lists_the_weakest() -> None:
    names = [f"class {index:03}" for index in range(130)]
    task = Task(type="classification", labels=tuple(names))
    truths = tuple(Truth(label=name) for name in names)

    def said(wrong: int) -> JudgedVariant:
        results = tuple(
            Result(task="classification", label=name if index >= wrong else names[-1], score=1.0)
            for index, name in enumerate(names)
        )
        given = Answers(results=results, truths=truths, slices=({},) * 130)
        return replace(judged(INT8, [LABELS[0]] * 90), answers=given)

    appraisal = appraise(task, "top1", said(0), [said(20)])
    card = make_card(Card(), said(20), appraisal)

    assert len(card.per_class) == 100
    assert set(names[:20]) <= set(card.per_class)
    assert appraisal.original is not None
    assert appraisal.original.confusion is None, "no readable table"


def test_layer_errors_fall_where_a_grid_is_too_coarse() -> None:
    graph = import_model(conv_net())
    samples = feeds(graph.inputs[0], 1, 3, 9, 9)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    sound = layer_errors(graph, plan, samples)
    first = sound[0].tensor
    coarse = replace(plan.tensors[first], scale=(plan.tensors[first].scale[0] * 40,))
    ruined = layer_errors(graph, replace(plan, tensors={**plan.tensors, first: coarse}), samples)

    assert {row.tensor for row in sound} <= {o for node in graph.nodes for o in node.outputs}
    assert all(row.sqnr_db is not None and row.sqnr_db > 20 for row in sound)
    before, after = sound[0].sqnr_db, ruined[0].sqnr_db
    assert before is not None
    assert after is not None
    assert before - after > 15
    assert layer_errors(graph, plan, samples) == sound


def test_an_infinite_value_does_not_pass_for_exact() -> None:
    layers = [node("Gemm", "x v", "a"), node("Gemm", "a w", "y")]
    weights = {"v": floats(1, 4, 4), "w": floats(2, 4, 4)}
    graph = import_model(
        net(layers, inputs={"x": [1, 4]}, outputs={"y": [1, 4]}, constants=weights)
    )
    plan = plan_quantization(graph, calibrate(graph, lambda: feeds("x", 1, 4)).ranges)

    rows = layer_errors(graph, plan, [{"x": np.full((1, 4), 3e38, np.float32)}])

    assert [row.sqnr_db for row in rows] == [-99.0, -99.0]


def test_words_round_for_people() -> None:
    assert words.loss_text("top1", 0.0123) == "+1.2 points"
    assert words.loss_text("mse", 0.05) == "+5.0 %"
    assert (
        words.interval_text("top1", Figure(value=0.9, low=0.85, high=0.94)) == "85.0 to 94.0\u00a0%"
    )
    assert words.interval_text("mse", Figure(value=0.9)) == ""
    assert [words.size_text(n) for n in (12, 75_700, 3_400_000)] == ["12 B", "75.7 kB", "3.40 MB"]
    assert [words.time_text(t) for t in (0.1684, 12.3, 2500.0)] == ["0.168 ms", "12.3 ms", "2.5 s"]


def test_measurements_of_boards_are_drawn_into_the_page_again(
    report: Report,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As `edgeops benchmark --json` prints them; a later one takes an earlier one's place."""
    monkeypatch.chdir(tmp_path)
    page = write_beside(tmp_path, replace(report, boards=()))
    record = {
        "variant": {"runtime": "onnx", "precision": "int8", "file": "a", "size_bytes": 1},
        "threads": 1,
        "latency_ms": {"p50": 12.5, "p95": 14.0, "runs": 99},
        "peak_rss_bytes": 1,
    }
    (tmp_path / "pi.json").write_text(json.dumps(record))
    words_given = ["report", str(page.with_suffix(".json")), "--measured"]

    for _ in range(2):
        monkeypatch.setattr(sys, "argv", [*words_given, "raspberry-pi-4=pi.json"])
        assert redraw() == 0
    assert capsys.readouterr().out.splitlines()[0] == str(page)
    again = codec.read(page.with_suffix(".json"), Report, where="report")
    assert [(row.board, row.variant, row.p50_ms) for row in again.boards] == [
        ("raspberry-pi-4", "onnx-int8", 12.5)
    ]
    assert "raspberry-pi-4" in page.read_text()

    for bad, status in (("nothing", 2), ("pi=none.json", 74), ("pi=bare.json", 2)):
        record["variant"] = {"runtime": "onnx", "precision": None}
        (tmp_path / "bare.json").write_text(json.dumps(record))
        monkeypatch.setattr(sys, "argv", [*words_given, bad])
        assert redraw() == status
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_report_cannot_choose_where_it_is_written(report: Report, tmp_path: Path) -> None:
    document = tmp_path / "evil.json"
    document.write_bytes(codec.canonical(report).replace(b'"belt"', b'"../belt"'))

    with pytest.raises(ContractError, match="name"):
        codec.read(document, Report, where="report")
