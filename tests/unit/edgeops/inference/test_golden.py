"""The exam before activation."""

from pathlib import Path

import numpy as np
import pytest

from edgeops.bundle import Bundle
from edgeops.contracts.result import Box, Detection, Result
from edgeops.errors import ContractError, InferenceError, StorageError
from edgeops.inference import golden
from edgeops.testing.bundles import make_bundle
from edgeops.testing.models import COLOR_INPUT, COLOR_TASK, color_classifier
from edgeops.testing.tflite_models import color_classifier_tflite
from edgeops.trust import SigningKey


def colors(folder: Path, key: SigningKey, *, with_golden: bool = True) -> Bundle:
    return make_bundle(
        folder,
        onnx_path=color_classifier(folder.with_suffix(".onnx")),
        tflite_path=color_classifier_tflite(folder.with_suffix(".tflite"), quantized=True),
        task=COLOR_TASK,
        input=COLOR_INPUT,
        key=key,
        with_golden=with_golden,
    )


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def test_every_variant_passes_its_own_exam(tmp_path: Path, key: SigningKey) -> None:
    bundle = colors(tmp_path / "b", key)

    for variant in bundle.manifest.variants:
        outcome = golden.check(bundle, variant)

        assert outcome.passed
        assert outcome.agreement == 1.0
        assert outcome.count == 4
        assert 0 < outcome.p95_ms < 1000


def test_another_model_in_its_place_fails(tmp_path: Path, key: SigningKey) -> None:
    bundle = colors(tmp_path / "b", key)
    variant = bundle.manifest.variants[1]
    color_classifier(bundle.path(variant.file), turn=1)

    outcome = golden.check(bundle, variant)

    assert not outcome.passed
    assert outcome.agreement == 0.0


def test_the_same_bundle_is_made_twice(tmp_path: Path, key: SigningKey) -> None:
    first, second = (colors(tmp_path / name, key) for name in ("a", "b"))

    assert first.digest == second.digest


def test_no_exam_is_no_pass(tmp_path: Path, key: SigningKey) -> None:
    bundle = colors(tmp_path / "b", key, with_golden=False)

    with pytest.raises(InferenceError, match="no golden samples"):
        golden.check(bundle, bundle.manifest.variants[0])


def test_missing_answers_are_no_pass(tmp_path: Path, key: SigningKey) -> None:
    bundle = colors(tmp_path / "b", key)
    bundle.path(golden.EXPECTED).write_bytes(b'{"variants":{}}')

    with pytest.raises(InferenceError, match="4 golden samples of 4 and 0 answers"):
        golden.check(bundle, bundle.manifest.variants[0])


@pytest.mark.parametrize("damage", [b"", b"PK", b"garbage" * 99])
def test_damaged_samples_are_one_sentence(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(damage)

    with pytest.raises(ContractError, match=r"is not an \.npz file"):
        golden.read_samples(path)
    with pytest.raises(StorageError, match="cannot read"):
        golden.read_samples(tmp_path / "absent.npz")


def test_samples_are_data_and_never_code(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, x=np.array([object()], dtype=object))

    with pytest.raises(ContractError, match=r"is not an \.npz file"):
        golden.read_samples(path)


def classes(*scores: float) -> Result:
    best = int(np.argmax(scores))
    return Result(task="classification", label=f"class-{best}", score=scores[best], scores=scores)


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (classes(0.7, 0.3), classes(0.72, 0.28), True),
        (classes(0.7, 0.3), classes(0.76, 0.24), False),
        (classes(0.51, 0.49), classes(0.49, 0.51), True),  # a tie, within the tolerance
        (classes(0.7, 0.3), classes(0.3, 0.7), False),
        (classes(0.7, 0.3), classes(0.7, 0.3, 0.0), False),
        (Result(task="anomaly", score=100.0), Result(task="anomaly", score=104.0), True),
        (Result(task="anomaly", score=0.10), Result(task="anomaly", score=0.12), False),
        (Result(task="regression", score=1.0), Result(task="anomaly", score=1.0), False),
    ],
)
def test_scores_agree_within_the_tolerance(expected: Result, got: Result, same: bool) -> None:
    assert golden.agrees(expected, got, 0.05) is same


def objects(*found: tuple[str, float, Box]) -> Result:
    items = tuple(Detection(label=label, score=score, box=box) for label, score, box in found)
    return Result(task="detection", objects=items)


CAT = ("cat", 0.8, (0.1, 0.1, 0.5, 0.5))
MOVED = ("cat", 0.78, (0.12, 0.1, 0.52, 0.5))
FAR = ("cat", 0.8, (0.4, 0.1, 0.8, 0.5))
DOG = ("dog", 0.8, (0.1, 0.1, 0.5, 0.5))
WEAK = ("cat", 0.32, (0.6, 0.6, 0.9, 0.9))


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (objects(CAT), objects(MOVED), True),
        (objects(CAT), objects(FAR), False),
        (objects(CAT), objects(DOG), False),
        (objects(CAT), objects(), False),
        (objects(), objects(CAT), False),
        (objects(CAT, WEAK), objects(CAT), True),
        (objects(CAT), objects(CAT, WEAK), True),
    ],
)
def test_objects_agree_by_class_place_and_score(expected: Result, got: Result, same: bool) -> None:
    assert golden.agrees(expected, got, 0.05, score_threshold=0.3) is same


def test_agreement_is_a_share() -> None:
    right, wrong = classes(1.0, 0.0), classes(0.0, 1.0)

    assert golden.compare([right] * 4, [right, wrong, right, right], 0.05) == 0.75
