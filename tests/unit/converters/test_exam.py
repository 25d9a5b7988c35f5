"""Golden samples: few, of every class, and no decision that a harmless difference could turn."""

from collections.abc import Sequence

import numpy as np

from converters.datasets import Dataset, Sample
from converters.exam import choose_golden
from converters.metrics import Truth
from edgeops.contracts.result import Result


def exam_data(shapes: Sequence[tuple[int, ...]]) -> Dataset:
    return Dataset(
        name="d",
        sha256="0" * 64,
        labelled=False,
        size=len(shapes),
        read=lambda index: Sample(data=np.full(shapes[index], index, np.float32), truth=Truth()),
    )


def test_golden_samples_come_from_every_class_with_the_closest_safe_decision() -> None:
    names = ["common"] * 90 + ["rare"] * 2 + ["other"] * 8
    margins = [0.9] * 100
    margins[40], margins[41], margins[91] = 0.02, 0.12, 0.3
    results = [
        Result(task="classification", label=name, scores=(0.5 + m / 2, 0.5 - m / 2))
        for name, m in zip(names, margins, strict=True)
    ]

    chosen = choose_golden(exam_data([(2, 2)] * 100), results)

    assert len(chosen.indices) == len(chosen.samples) == 16
    assert {names[index] for index in chosen.indices} == {"common", "rare", "other"}
    assert {41, 90, 91} <= set(chosen.indices)
    assert 40 not in chosen.indices
    assert chosen.samples[0, 0, 0] == chosen.indices[0]


def test_golden_samples_have_one_shape_and_fit() -> None:
    mixed = [(2, 2) if index % 2 else (3, 3) for index in range(40)]
    results = [Result(task="anomaly", score=0.1)] * 40

    chosen = choose_golden(exam_data(mixed), results)
    large = choose_golden(exam_data([(400, 400)] * 40), results)

    assert len({mixed[index] for index in chosen.indices}) == 1
    assert len(large.indices) == (1 << 20) // (400 * 400 * 4)
