"""Boosted trees: XGBoost's and LightGBM's own answers, from every way to save them."""
# ruff: noqa: E402 - what follows the skips needs the libraries

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

pytest.importorskip("onnxmltools", reason="needs the extra trees")
lightgbm = pytest.importorskip("lightgbm", reason="needs the extra trees")
xgboost = pytest.importorskip("xgboost", reason="needs the extra trees")

from converters.arrays import Floats
from converters.exporters.request import Exported, Request
from converters.exporters.tree_model import (
    LIGHTGBM_OBJECTIVES,
    XGBOOST_OBJECTIVES,
    export_lightgbm,
    export_xgboost,
)
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from edgeops.errors import ConversionError, UsageError

Booster: TypeAlias = Any  # of either library

FEATURES = 6
ROUNDS = 5
CLASSES = 3


def table() -> tuple[Floats, Floats]:
    """Return 300 rows and a number that depends on them, above 0.1."""
    random = np.random.default_rng(0)
    x = random.normal(size=(300, FEATURES)).astype(np.float32)
    return x, (0.1 + np.abs(x[:, 0] * 2 + x[:, 1] ** 2)).astype(np.float32)


def targets(objective: str, values: Floats) -> Floats:
    if "binary" in objective:
        return (values > 1).astype(np.float32)
    if "multi" in objective:
        return np.minimum(values, CLASSES - 1).astype(np.int64).astype(np.float32)
    return np.round(values) if "poisson" in objective else values


def assert_same_answers(exported: Exported, said: Floats) -> None:
    """Hold original, exporter's answer and hub against each other, on the training rows."""
    x, _ = table()
    graph = import_model(exported.onnx)
    (output,) = graph.outputs
    model = OrtModel(serialize(graph))
    found = np.concatenate([model.run({"x": row[None]})[output] for row in x])
    answered = np.concatenate([exported.run({"x": row[None]})[output] for row in x])
    assert found == pytest.approx(answered, rel=1e-4, abs=1e-5)
    column = found[:, -1] if said.ndim == 1 else found
    assert column == pytest.approx(said, rel=1e-4, abs=1e-5)
    if output == "scores":
        assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)


def train_xgboost(objective: str, **options: object) -> Booster:
    x, values = table()
    if objective.startswith("multi"):
        options["num_class"] = CLASSES
    data = xgboost.DMatrix(x, targets(objective, values))
    return xgboost.train({"objective": objective, "nthread": 1, **options}, data, ROUNDS)


def train_lightgbm(objective: str, **options: object) -> Booster:
    x, values = table()
    if objective == "multiclass":
        options["num_class"] = CLASSES
    fixed = {"objective": objective, "num_threads": 1, "verbosity": -1, "seed": 0}
    return lightgbm.train(fixed | options, lightgbm.Dataset(x, targets(objective, values)), ROUNDS)


@pytest.mark.parametrize("suffix", [".json", ".ubj"])
@pytest.mark.parametrize("objective", XGBOOST_OBJECTIVES)
def test_xgboost_says_the_same(tmp_path: Path, objective: str, suffix: str) -> None:
    booster = train_xgboost(objective)
    booster.save_model(tmp_path / f"m{suffix}")

    exported = export_xgboost(Request(kind="xgboost", spec=f"m{suffix}", folder=str(tmp_path)))

    assert_same_answers(exported, booster.predict(xgboost.DMatrix(table()[0])))


@pytest.mark.parametrize("objective", LIGHTGBM_OBJECTIVES)
def test_lightgbm_says_the_same(tmp_path: Path, objective: str) -> None:
    booster = train_lightgbm(objective)
    booster.save_model(tmp_path / "m.txt")

    exported = export_lightgbm(Request(kind="lightgbm", spec="m.txt", folder=str(tmp_path)))

    assert_same_answers(exported, booster.predict(table()[0]))


def test_a_factory_may_make_either_kind_of_object(tmp_path: Path) -> None:
    (tmp_path / "boosted.py").write_text(
        "import numpy, lightgbm, xgboost\n"
        "X = numpy.arange(120, dtype='float32').reshape(40, 3) % 17\n"
        "def wrapped():\n    return xgboost.XGBRegressor(n_estimators=3).fit(X, X[:, 0])\n"
        "def light():\n"
        "    model = lightgbm.LGBMRegressor(n_estimators=3, verbosity=-1, min_child_samples=2)\n"
        "    return model.fit(X, X[:, 0])\n"
        "def neither():\n    return 3\n"
    )

    def request(name: str, **shapes: tuple[int, ...]) -> Request:
        return Request(kind="t", spec=f"boosted:{name}", folder=str(tmp_path), shapes=shapes)

    row = {"x": np.asarray([[3, 4, 5]], np.float32)}
    assert export_xgboost(request("wrapped")).run(row)["values"].shape == (1, 1)
    assert export_lightgbm(request("light")).run(row)["values"].shape == (1, 1)
    with pytest.raises(UsageError, match="expected a Booster"):
        export_xgboost(request("neither"))
    with pytest.raises(UsageError, match="shape 1,3"):
        export_lightgbm(request("light", x=(1, 4)))


def test_named_features_do_not_disturb(tmp_path: Path) -> None:
    x, values = table()
    names = [f"sensor {number}" for number in range(FEATURES)]
    data = xgboost.DMatrix(x, values, feature_names=names)
    booster = xgboost.train({"objective": "reg:squarederror"}, data, ROUNDS)
    booster.save_model(tmp_path / "m.json")

    exported = export_xgboost(Request(kind="xgboost", spec="m.json", folder=str(tmp_path)))

    assert_same_answers(exported, booster.predict(xgboost.DMatrix(x, feature_names=names)))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"objective": "rank:pairwise"}, "objective 'rank:pairwise' has no ONNX form"),
        ({"objective": "reg:squarederror", "booster": "dart"}, "'dart' have no ONNX form"),
        ({"objective": "reg:squarederror", "booster": "gblinear"}, "'gblinear' have no"),
    ],
)
def test_other_kinds_of_xgboost_are_refused(
    tmp_path: Path, options: dict[str, str], reason: str
) -> None:
    train_xgboost(**options).save_model(tmp_path / "m.json")

    with pytest.raises(ConversionError, match=reason):
        export_xgboost(Request(kind="xgboost", spec="m.json", folder=str(tmp_path)))


def test_categories_are_refused_by_xgboost_and_followed_by_lightgbm(tmp_path: Path) -> None:
    x, values = table()
    x[:, 0] = np.arange(len(x)) % 12
    values = np.sin(x[:, 0] * 3) + x[:, 1]
    kinds = ["c"] + ["float"] * (FEATURES - 1)
    data = xgboost.DMatrix(x, values, feature_types=kinds, enable_categorical=True)
    xgboost.train({"objective": "reg:squarederror"}, data, ROUNDS).save_model(tmp_path / "m.json")
    with pytest.raises(ConversionError, match="categorical features have no ONNX form"):
        export_xgboost(Request(kind="xgboost", spec="m.json", folder=str(tmp_path)))

    rows = lightgbm.Dataset(x, values, categorical_feature=[0])
    booster = lightgbm.train({"objective": "regression", "verbosity": -1}, rows, ROUNDS)
    booster.save_model(tmp_path / "m.txt")
    exported = export_lightgbm(Request(kind="lightgbm", spec="m.txt", folder=str(tmp_path)))
    model = OrtModel(exported.onnx)
    found = [model.run({"x": row[None]})["values"].item() for row in x]
    assert found == pytest.approx(booster.predict(x), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"objective": "cross_entropy"}, "objective 'cross_entropy' has no ONNX form"),
        ({"objective": "regression", "linear_tree": True}, "linear leaves"),
    ],
)
def test_other_kinds_of_lightgbm_are_refused(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    x, values = table()
    data = lightgbm.Dataset(
        x, np.minimum(values / 9, 1), params={"linear_tree": "linear_tree" in options}
    )
    booster = lightgbm.train({**options, "verbosity": -1, "num_threads": 1}, data, ROUNDS)
    booster.save_model(tmp_path / "m.txt")

    with pytest.raises(ConversionError, match=reason):
        export_lightgbm(Request(kind="lightgbm", spec="m.txt", folder=str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"{}", b"tree\n", b"\x00\xff" * 40])
def test_what_is_no_booster_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.json").write_bytes(content)
    (tmp_path / "m.txt").write_bytes(content)

    with pytest.raises(ConversionError, match="no XGBoost model"):
        export_xgboost(Request(kind="xgboost", spec="m.json", folder=str(tmp_path)))
    with pytest.raises(ConversionError, match="no LightGBM model"):
        export_lightgbm(Request(kind="lightgbm", spec="m.txt", folder=str(tmp_path)))
