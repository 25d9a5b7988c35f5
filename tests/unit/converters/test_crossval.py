"""k-fold: each row is judged once, by a model that has not seen it."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from typer.testing import CliRunner

from converters.arrays import Array, Floats
from converters.cli_evaluate import app
from converters.crossval import cross_validate, cross_validate_code, interval
from edgeops.errors import UsageError


def iris() -> tuple[Floats, list[str]]:
    x, y = load_iris(return_X_y=True)
    return x.astype(np.float32), [str(label) for label in y]


class Memory(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Knows the rows it was fitted to, and says class 1 to all others."""

    def fit(self, x: Floats, y: Array) -> "Memory":
        self.classes_ = np.unique(y)
        self.known_ = {row.tobytes(): label for row, label in zip(x, y, strict=True)}
        return self

    def predict(self, x: Floats) -> Array:
        return np.asarray([self.known_.get(row.tobytes(), 1) for row in x])


def test_figures_are_scikit_learns_own() -> None:
    x, y = iris()
    target = np.asarray([int(label) for label in y])
    folds = StratifiedKFold(5, shuffle=True, random_state=3)

    for metric, scorer in (("top1", "accuracy"), ("f1", "f1_macro"), ("auc", "roc_auc_ovr")):
        found = cross_validate(KNeighborsClassifier, x, y, folds=5, metric=metric, seed=3)
        wanted = cross_val_score(KNeighborsClassifier(), x, target, cv=folds, scoring=scorer)
        assert found.scores == pytest.approx(wanted)
        assert found.low <= found.mean <= found.high
        assert found.samples == 150


def test_what_was_learnt_elsewhere_is_forgotten() -> None:
    """A factory that gives a model fitted to all rows must not shine with what it remembers."""
    x, y = iris()
    x = np.concatenate([x, np.arange(len(x), dtype=np.float32)[:, None]], axis=1)
    everything = Memory().fit(x, np.asarray([int(label) for label in y]))

    found = cross_validate(lambda: everything, x, y, folds=3)

    assert everything.predict(x).tolist() == [int(label) for label in y]
    assert found.mean == pytest.approx(1 / 3)


def test_a_regressor_is_judged_by_its_error() -> None:
    x = np.arange(40, dtype=np.float32).reshape(40, 1)
    noise = np.random.default_rng(0).normal(size=40)

    found = cross_validate(Ridge, x, [str(v) for v in 3 * x[:, 0] + noise], folds=4)

    assert found.metric == "mse"
    assert 0.3 < found.mean < 3


def test_of_two_classes_distances_do_for_auc() -> None:
    x, y = iris()
    pair = ["yes" if label == "2" else "no" for label in y]

    found = cross_validate(lambda: LinearSVC(random_state=0), x, pair, folds=3, metric="auc")

    assert found.mean > 0.9


def test_the_interval_is_wider_than_the_plain_one() -> None:
    scores = [0.9, 0.8, 0.85, 0.95, 0.7]
    low, high = interval(scores)

    plain = 2.776 * np.std(scores, ddof=1) / 5**0.5  # t of 4 degrees of freedom
    assert (high - low) / 2 == pytest.approx(plain * (1 + 5 / 4) ** 0.5, rel=1e-3)
    assert (high + low) / 2 == pytest.approx(0.84)


@pytest.mark.parametrize(
    ("factory", "options", "reason"),
    [
        (dict, {}, "made dict: k-fold needs"),
        (lambda: KMeans(2), {}, "no classifier or regressor"),
        (LogisticRegression, {"metric": "mse"}, "mse does not fit"),
        (Ridge, {"metric": "top1"}, "top1 does not fit"),
        (LogisticRegression, {"folds": 1}, "at least 2"),
        (LogisticRegression, {"folds": 51}, "rows of the rarest class, which are 50"),
        (Ridge, {"folds": 151}, "rows, which are 150"),
        (lambda: LogisticRegression(C=-1), {}, "LogisticRegression cannot be fitted: The 'C'"),
        (LinearSVC, {"metric": "auc"}, "needs an estimator that gives probabilities"),
    ],
)
def test_what_does_not_fit_is_refused(
    factory: type, options: dict[str, object], reason: str
) -> None:
    x, y = iris()
    arguments = {"folds": 3} | options

    with pytest.raises(UsageError, match=reason):
        cross_validate(factory, x, y, **arguments)  # type: ignore[arg-type] # mixed on purpose


def test_one_class_alone_is_refused() -> None:
    x, _ = iris()

    with pytest.raises(UsageError, match="one class only"):
        cross_validate(LogisticRegression, x, ["0"] * len(x), folds=3)


def test_the_interval_of_a_share_ends_at_one() -> None:
    x, y = iris()

    found = cross_validate(lambda: LogisticRegression(max_iter=500), x, y, folds=5)

    low, high = interval(found.scores)
    assert low < found.mean < 1 < high
    assert (found.low, found.high) == (low, 1.0)


def test_the_command_fits_a_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = iris()
    np.savez(tmp_path / "iris.npz", x=x, y=np.asarray([int(label) for label in y]))
    (tmp_path / "crossval_factory.py").write_text(
        "print('noise')\n"
        "from sklearn.neighbors import KNeighborsClassifier\n"
        "def nearest():\n    print('more noise')\n    return KNeighborsClassifier(3)\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["crossval_factory:nearest", "--data", "iris.npz", "--folds", "4", "--json"]

    first, second = (CliRunner().invoke(app, words, catch_exceptions=False) for _ in range(2))

    record = json.loads(first.stdout)
    assert second.stdout == first.stdout
    assert (record["folds"], record["samples"], record["metric"]) == (4, 150, "top1")
    assert record["interval"][0] < record["mean"] < record["interval"][1]
    assert record["mean"] > 0.9


def test_named_classes_need_a_recipe(tmp_path: Path) -> None:
    rows = [f"{i},{i % 7},{'calm' if i % 2 else 'wild'}" for i in range(20)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,label", *rows]))
    (tmp_path / "crossval_named.py").write_text(
        "from sklearn.neighbors import KNeighborsClassifier as make\n"
    )
    (tmp_path / "recipe.yaml").write_text(
        "model: crossval_named:make\nname: n\nversion: 1.0.0\n"
        "task: {type: classification, labels: [calm, wild]}\n"
    )
    arguments = {"data": tmp_path / "table.csv", "folds": 2}

    with pytest.raises(UsageError, match="name the classes in a recipe"):
        cross_validate_code("crossval_named:make", tmp_path, **arguments)  # type: ignore[arg-type]
    found = cross_validate_code(
        "crossval_named:make",
        tmp_path,
        recipe=tmp_path / "recipe.yaml",
        **arguments,  # type: ignore[arg-type] # mixed on purpose
    )
    assert found.samples == 20
