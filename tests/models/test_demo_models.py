"""The demo's models are the trained ones, and as good or as bad as the demo needs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from sklearn.metrics import roc_auc_score

from edgeops import yamldoc
from edgeops.contracts.manifest import InputSpec, Task
from edgeops.demo.render import (
    LABELS,
    write_vibration_csv,
    write_vibration_dataset,
    write_visual_dataset,
)
from edgeops.inference.preprocess import Preprocessor
from edgeops.inference.runtimes.loading import open_model
from examples.visual_inspection.prune_too_hard import SHARE, prune_filters

ASSETS = Path(str(resources.files("edgeops.demo") / "assets"))
EXAMPLES = Path(__file__).parents[2] / "examples"
UNSEEN_SEED = 90_001
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What of a recipe these tests need."""

    input: InputSpec
    task: Task


def _recipe(name: str) -> Recipe:
    document = yamldoc.plain((ASSETS / f"{name}.yaml").read_bytes(), name=f"{name}.yaml")
    parts = cast("Mapping[str, object]", document)
    return Recipe(
        msgspec.convert(parts["input"], InputSpec, strict=True),
        msgspec.convert(parts["task"], Task, strict=True),
    )


def _answers(
    model_file: str, recipe: Recipe, samples: npt.NDArray[np.generic]
) -> list[tuple[Scores, Scores]]:
    """Return for each sample the tensors that went in and came out, ``[windows, …]``."""
    model = open_model(ASSETS / model_file, "onnx")
    try:
        prepare = Preprocessor(recipe.input, model.inputs[0])
        answers = []
        for sample in samples:
            tensors = [tensor.copy() for tensor in prepare(sample).tensors]
            outputs = [model.run([tensor])[0] for tensor in tensors]
            answers.append(
                (
                    np.concatenate(tensors).astype(np.float64),
                    np.concatenate(outputs).astype(np.float64),
                )
            )
        return answers
    finally:
        model.close()


def _anomaly(pairs: list[tuple[Scores, Scores]]) -> list[Scores]:
    """Return the score of each window, ``[windows]`` per sample."""
    return [np.square(after - before).mean(axis=1) for before, after in pairs]


@pytest.fixture(scope="module")
def labels_given(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, npt.NDArray[np.int64]]:
    """Return what is right and what each version says of 300 unseen pictures."""
    path = tmp_path_factory.mktemp("visual") / "unseen.npz"
    write_visual_dataset(path, UNSEEN_SEED, 300)
    with np.load(path) as data:
        x, y = data["x"], data["y"]
    given = {"truth": np.asarray(y, dtype=np.int64)}
    for version in ("v1", "v2", "v3"):
        pairs = _answers(f"visual-{version}.onnx", _recipe("visual"), x)
        given[version] = np.array([int(scores.argmax()) for _, scores in pairs], dtype=np.int64)
    return given


def test_the_committed_models_are_the_listed_ones() -> None:
    lines = (ASSETS / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}

    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in ASSETS.glob("*.onnx")
    }

    assert found == listed
    assert sum(path.stat().st_size for path in ASSETS.glob("*.onnx")) < 600_000


@pytest.mark.parametrize(
    ("asset", "example"), [("visual", "visual_inspection"), ("bearing", "bearing_vibration")]
)
def test_demo_and_example_use_one_recipe(asset: str, example: str) -> None:
    recipe = (EXAMPLES / example / "recipe.yaml").read_bytes()

    assert (ASSETS / f"{asset}.yaml").read_bytes() == recipe


def test_the_broken_version_is_the_first_one_pruned_too_hard() -> None:
    model = onnx.load(ASSETS / "visual-v1.onnx")

    zeroed = prune_filters(model, SHARE)

    assert zeroed > 200
    assert model == onnx.load(ASSETS / "visual-v2.onnx")


def test_the_recipes_labels_are_the_generators() -> None:
    assert _recipe("visual").task.labels == LABELS


def test_each_visual_version_is_as_good_as_its_card_says(
    labels_given: Mapping[str, npt.NDArray[np.int64]],
) -> None:
    top1 = {
        version: float((labels_given[version] == labels_given["truth"]).mean())
        for version in ("v1", "v2", "v3")
    }

    assert top1["v1"] >= 0.95
    assert top1["v2"] <= 0.6
    assert top1["v3"] >= top1["v1"]


def test_the_broken_version_shows_in_the_mix_of_its_labels(
    labels_given: Mapping[str, npt.NDArray[np.int64]],
) -> None:
    shares = {
        version: np.bincount(labels_given[version], minlength=3) / len(labels_given["truth"])
        for version in ("v1", "v2", "v3")
    }

    def distance(one: str, other: str) -> float:
        return float(np.abs(shares[one] - shares[other]).sum() / 2)

    assert distance("v1", "v2") > 0.5
    assert distance("v1", "v3") < 0.1


def test_the_bearing_model_tells_faulty_from_healthy(tmp_path: Path) -> None:
    path = tmp_path / "bearing.npz"
    write_vibration_dataset(path, UNSEEN_SEED, 300)
    with np.load(path) as data:
        x, y = data["x"], data["y"]

    windows = _anomaly(_answers("bearing-v1.onnx", _recipe("bearing"), x))

    assert roc_auc_score(y, [scores.mean() for scores in windows]) > 0.95
    threshold = _recipe("bearing").task.threshold
    assert threshold is not None
    healthy = np.concatenate(
        [scores for scores, fault in zip(windows, y, strict=True) if not fault]
    )
    assert float((healthy > threshold).mean()) < 0.01


def test_the_recorded_fault_is_above_the_threshold_all_along(tmp_path: Path) -> None:
    path = tmp_path / "bearing.csv"
    write_vibration_csv(path, seed=7, seconds=30, faults=[(12, 22)])
    signal = np.loadtxt(path, delimiter=",", skiprows=1)[:, 1].astype(np.float32)

    scores = _anomaly(_answers("bearing-v1.onnx", _recipe("bearing"), signal[None]))[0]

    threshold = _recipe("bearing").task.threshold
    assert threshold is not None
    starts_s = np.arange(len(scores)) / 2
    in_fault = (starts_s >= 12) & (starts_s <= 21)
    assert (scores[in_fault] > threshold).all()
    assert not (scores[(starts_s < 11) | (starts_s >= 22)] > threshold).any()
