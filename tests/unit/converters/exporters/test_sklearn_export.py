"""scikit-learn: what devices get is what the estimator says, for each kind of estimator."""
# ruff: noqa: E402 - what follows the skip needs the library

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

skl2onnx = pytest.importorskip("skl2onnx", reason="needs the extra sklearn")

import joblib
from sklearn.base import is_classifier
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM

from converters.arrays import Floats
from converters.calibration import calibrate
from converters.exporters.request import Exported, Request
from converters.exporters.sklearn_model import export_estimator, export_sklearn
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite
from edgeops.errors import ConversionError, StorageError, UnsupportedModelError, UsageError
from tests.unit.converters.tflite_runner import TfliteRunner

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FEATURES = 16
TRAINED = 250

Make = Callable[[], Any]


def digits() -> tuple[Floats, "np.ndarray[Any, np.dtype[np.int64]]"]:
    """Return digits of a quarter of the pixels, so that tests are quick: 400 rows of 16."""
    x, y = load_digits(return_X_y=True)
    small = x[:400].reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, FEATURES)
    return small.astype(np.float32), y[:400]


def through_the_hub(exported: Exported, rows: Floats) -> tuple[Floats, Floats]:
    """Return the answers of the original and of the normalised graph, a row for each."""
    graph = import_model(exported.onnx)
    model = OrtModel(serialize(graph))
    (output,) = graph.outputs
    pairs = [
        (exported.run({"x": row[None]})[output], model.run({"x": row[None]})[output])
        for row in rows
    ]
    wanted, found = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return wanted, found


ESTIMATORS: dict[str, Make] = {
    "logistic": lambda: LogisticRegression(max_iter=30),
    "scaled logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=30)),
    "ranges": lambda: make_pipeline(
        RobustScaler(), MinMaxScaler(), Normalizer(), LogisticRegression(max_iter=30)
    ),
    "perceptron": lambda: MLPClassifier((8,), max_iter=20, random_state=0),
    "scaled perceptron": lambda: make_pipeline(
        StandardScaler(), MLPClassifier((8,), max_iter=20, random_state=0)
    ),
    "linear vectors": lambda: make_pipeline(StandardScaler(), LinearSVC(random_state=0)),
    "ridge": RidgeClassifier,
    "vectors": SVC,
    "scaled vectors": lambda: make_pipeline(StandardScaler(), SVC()),
    "forest": lambda: RandomForestClassifier(8, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(8, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=4, random_state=0),
    "bayes": GaussianNB,
    "linear": LinearRegression,
    "perceptron regression": lambda: MLPRegressor(
        hidden_layer_sizes=(8,), max_iter=20, random_state=0
    ),
    "vector regression": SVR,
    "forest regression": lambda: RandomForestRegressor(8, random_state=0),
    "boosting regression": lambda: GradientBoostingRegressor(n_estimators=4, random_state=0),
    "isolation": lambda: IsolationForest(n_estimators=8, random_state=0),
    "one class": lambda: make_pipeline(StandardScaler(), OneClassSVM()),
    "components": lambda: make_pipeline(StandardScaler(), PCA(4)),
    "white components": lambda: PCA(4, whiten=True),
}


VOTING = ("vectors", "scaled vectors")
"""Kernel machines predict by votes between pairs of classes, which tie where scores do not."""


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("classes", [10, 2])
def test_the_hub_computes_what_the_estimator_does(name: str, classes: int) -> None:
    x, y = digits()
    target = y % classes
    estimator = ESTIMATORS[name]().fit(x[:TRAINED], target[:TRAINED])
    rest = x[TRAINED:]

    exported = export_estimator(estimator, "x", FEATURES)
    wanted, found = through_the_hub(exported, rest)

    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    if is_classifier(estimator):
        assert found.shape[1] == classes
        assert np.array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
        if not (name in VOTING and classes > 2):
            said = [list(estimator.classes_).index(label) for label in estimator.predict(rest)]
            assert np.array_equal(found.argmax(axis=1), said)
    else:
        assert found.shape[1] == (FEATURES if "components" in name else 1)


def test_an_outlier_scores_above_zero() -> None:
    x, _ = digits()
    forest = IsolationForest(n_estimators=20, random_state=0).fit(x[:TRAINED])

    exported = export_estimator(forest, "x", FEATURES)

    strange = exported.run({"x": np.full((1, FEATURES), 60, np.float32)})["score"]
    usual = exported.run({"x": x[:TRAINED].mean(axis=0, keepdims=True)})["score"]
    assert strange.astype(float).item() > 0 > usual.astype(float).item()
    assert forest.predict(np.full((1, FEATURES), 60)) == [-1]


@pytest.mark.parametrize("name", ["scaled logistic", "scaled perceptron", "linear", "components"])
def test_linear_models_and_perceptrons_reach_tflite_and_int8(name: str) -> None:
    x, y = digits()
    estimator = ESTIMATORS[name]().fit(x[:TRAINED], y[:TRAINED])
    graph = import_model(export_estimator(estimator, "x", FEATURES).onnx)
    samples = [{"x": row[None]} for row in x[:TRAINED]]
    (output,) = graph.outputs
    rest = [{"x": row[None]} for row in x[TRAINED:]]
    reference = OrtModel(serialize(graph))
    wanted = np.concatenate([reference.run(feeds)[output] for feeds in rest])

    plain = TfliteRunner(lower_to_tflite(graph))
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    small = TfliteRunner(lower_to_tflite(graph, plan))
    int8 = OrtModel(write_onnx_int8(graph, plan))

    assert {node.domain for node in graph.nodes} == {""}
    found = np.concatenate([plain.run(feeds)[output] for feeds in rest])
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    for model in (small, int8):
        found = np.concatenate([model.run(feeds)[output] for feeds in rest])
        error = np.square(found - wanted).mean() / np.square(wanted).mean()
        assert error < 0.02


def test_trees_stay_onnx_with_a_reason() -> None:
    x, y = digits()
    estimator = RandomForestClassifier(2, random_state=0).fit(x, y)
    graph = import_model(export_estimator(estimator, "x", FEATURES).onnx)

    with pytest.raises(UnsupportedModelError, match="TreeEnsembleClassifier"):
        lower_to_tflite(graph)


def test_the_same_estimator_gives_the_same_bytes() -> None:
    x, y = digits()
    files = {
        export_estimator(RandomForestClassifier(4, random_state=0).fit(x, y), "x", FEATURES).onnx
        for _ in range(2)
    }

    assert len(files) == 1


def test_a_pickle_is_named_as_one(tmp_path: Path) -> None:
    x, y = digits()
    joblib.dump(
        LogisticRegression(max_iter=30).fit(x, np.array(["odd", "even"])[y % 2]), tmp_path / "m.pkl"
    )

    exported = export_sklearn(Request(kind="sklearn", spec="m.pkl", folder=str(tmp_path)))

    assert exported.notes == (
        "m.pkl is a pickle: loading it ran the code that it carries",
        "task.labels must name the classes in this order: even, odd",
    )


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04\x95", b"\x80\x04N."])
def test_a_damaged_pickle_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.joblib").write_bytes(content)

    with pytest.raises((ConversionError, UsageError), match=r"cannot be loaded|expected a scikit"):
        export_sklearn(Request(kind="sklearn", spec="m.joblib", folder=str(tmp_path)))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    request = Request(kind="sklearn", spec="m.pkl", folder=str(tmp_path))
    with pytest.raises(StorageError, match="no such file"):
        export_sklearn(request)
    joblib.dump(LogisticRegression(), tmp_path / "m.pkl")
    with pytest.raises(UsageError, match="fit the LogisticRegression"):
        export_sklearn(request)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: KMeans(2, n_init=1), "no classifier, regressor or outlier detector"),
        (StandardScaler, "no classifier, regressor or outlier detector"),
        (lambda: SVC(decision_function_shape="ovo"), "decision_function_shape='ovr'"),
        (lambda: NMF(2, init="random", random_state=0, max_iter=500), "skl2onnx"),
    ],
)
def test_what_devices_could_not_use_is_refused(make: Make, reason: str) -> None:
    x, y = digits()

    with pytest.raises(ConversionError, match=reason):
        export_estimator(make().fit(x, y), "x", FEATURES)
