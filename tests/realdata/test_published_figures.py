"""The AUC of published anomaly scores is the published AUC, and int8 costs what it says."""

import csv
from pathlib import Path

import pytest

from converters.assessment import compare, figure
from converters.evaluation import Answers
from converters.metrics import Truth
from edgeops.contracts.result import Result


def published(folder: Path, prefix: str) -> tuple[Answers, float]:
    """Return the scores of one machine's sound files, and the AUC printed beside them."""
    with (folder / f"{prefix}anomaly_score_ToyCar_id_01.csv").open() as file:
        rows = sorted((name, float(score)) for name, score in csv.reader(file))
    with (folder / f"{prefix}result.csv").open() as file:
        (area,) = (float(row[1]) for row in csv.reader(file) if row[:1] == ["01"])
    answers = Answers(
        results=tuple(Result(task="anomaly", score=score) for _, score in rows),
        truths=tuple(Truth(label=name.partition("_")[0]) for name, _ in rows),
        slices=({},) * len(rows),
    )
    return answers, area


@pytest.mark.parametrize("prefix", ["", "tflite_", "tflite_quant_", "tflite_quant_fullint_"])
def test_area_is_the_published_one(data_dir: Path, prefix: str) -> None:
    answers, area = published(data_dir / "mlperf_tiny/published_ad", prefix)

    found = figure("auc", answers.results, answers.truths, ())

    assert found.value == pytest.approx(area, abs=1e-6)
    assert found.low is not None
    assert found.high is not None
    assert found.low < area < found.high
    assert found.high - found.low < 0.1


def test_loss_of_the_published_int8_model_is_no_chance(data_dir: Path) -> None:
    """The two intervals overlap; the paired one, on the same sounds, excludes zero."""
    folder = data_dir / "mlperf_tiny/published_ad"
    (before, _), (after, _) = published(folder, ""), published(folder, "tflite_quant_fullint_")

    drop = compare("auc", before, after).drop

    assert drop.value == pytest.approx(0.889848 - 0.864600, abs=1e-5)
    assert drop.low is not None
    assert drop.high is not None
    assert 0 < drop.low < drop.value < drop.high < 0.06
