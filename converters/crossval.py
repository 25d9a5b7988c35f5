"""k-fold cross-validation of estimators that a factory makes and data can fit.

A model file has been fitted once, on data that nobody can take back; a factory can be
asked again for each fold, and so tells how good the *method* is on data it has not seen.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold

from converters.arrays import Array, Floats, as_floats
from converters.datasets import open_dataset
from converters.exporters.code import make
from converters.recipe import load_recipe
from edgeops.contracts.manifest import Task
from edgeops.errors import ContractError, UsageError

DEFAULT_SEED: Final = 1
CONFIDENCE: Final = 0.95
MIN_FOLDS: Final = 2
_PAIR: Final = 2
_CLASS_METRICS: Final[frozenset[str]] = frozenset({"top1", "f1", "auc"})
_VALUE_METRICS: Final[frozenset[str]] = frozenset({"mse"})

Estimator: TypeAlias = Any  # scikit-learn has no types


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """What k fits on k different parts of the data showed.

    Attributes:
        metric: ``top1``, ``f1`` (mean over classes), ``auc`` or ``mse``.
        samples: Rows, each judged once.
        scores: One figure for each fold, in 0-1 (``mse``: squared units of the target).
        mean: Of the scores.
        low: Lower end of the mean's 95 % interval.
        high: Upper end.
    """

    metric: str
    samples: int
    scores: tuple[float, ...]
    mean: float
    low: float
    high: float

    def record(self) -> dict[str, object]:
        """Return the figures for a document."""
        return {
            "folds": len(self.scores),
            "interval": [round(self.low, 6), round(self.high, 6)],
            "mean": round(self.mean, 6),
            "metric": self.metric,
            "samples": self.samples,
            "scores": [round(score, 6) for score in self.scores],
        }

    def lines(self) -> list[str]:
        """Return the figures for people."""
        return [
            f"samples: {self.samples}, folds: {len(self.scores)}",
            f"{self.metric}: {self.mean:.4f} (95 % interval {self.low:.4f} to {self.high:.4f})",
            "each fold: " + " ".join(f"{score:.4f}" for score in self.scores),
        ]


def cross_validate(
    estimator_factory: Callable[[], object],
    x: Floats,
    y: Sequence[str],
    *,
    folds: int,
    metric: str | None = None,
    seed: int = DEFAULT_SEED,
) -> CrossValidation:
    """Fit on all folds but one, judge on that one, for each; classes are spread evenly.

    Args:
        estimator_factory: Makes a scikit-learn estimator, or one with its interface; what it was
            fitted to is forgotten.
        x: Rows, ``(samples, features)``.
        y: Class names, or numbers as text for a regressor.
        folds: How many, at least 2.
        metric: ``top1``, ``f1``, ``auc`` or ``mse``; by default what fits the estimator.
        seed: Chooses which row falls into which fold.

    Raises:
        UsageError: The estimator cannot be fitted, the metric does not fit it, or a class has
            fewer rows than there are folds.
    """
    estimator = estimator_factory()
    if not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "fit"):
        raise UsageError(
            f"the factory made {type(estimator).__name__}: k-fold needs a scikit-learn estimator, "
            "which can be fitted anew"
        )
    target = _target(estimator, y)
    chosen = metric or ("top1" if is_classifier(estimator) else "mse")
    if chosen not in (_CLASS_METRICS if is_classifier(estimator) else _VALUE_METRICS):
        raise UsageError(f"the metric {chosen} does not fit {type(estimator).__name__}")
    try:
        scores = tuple(
            _score(chosen, clone(estimator).fit(x[train], target[train]), x[test], target[test])
            for train, test in _splits(estimator, x, target, folds, seed)
        )
    except ValueError as error:  # how estimators refuse data and settings
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:300]
        raise UsageError(f"{type(estimator).__name__} cannot be fitted: {reason}") from error
    low, high = interval(scores)
    highest = float("inf") if chosen == "mse" else 1.0
    return CrossValidation(
        metric=chosen,
        samples=len(x),
        scores=scores,
        mean=float(np.mean(scores)),
        low=max(low, 0.0),
        high=min(high, highest),
    )


def _target(estimator: Estimator, y: Sequence[str]) -> Array:
    if is_classifier(estimator):
        # Numbers, as some libraries know no named classes; sorted, as scikit-learn does.
        return np.unique(np.asarray(y), return_inverse=True)[1]
    if is_regressor(estimator):
        return np.asarray([float(value) for value in y], np.float64)
    raise UsageError(f"{type(estimator).__name__} is no classifier or regressor: nothing to judge")


def _splits(
    estimator: Estimator, x: Floats, target: Array, folds: int, seed: int
) -> Iterator[tuple[Array, Array]]:
    rows = len(x)
    if is_classifier(estimator):
        counts = np.unique(target, return_counts=True)[1]
        if len(counts) < _PAIR:
            raise UsageError("the data hold one class only: there is nothing to tell apart")
        rows = int(counts.min())
    if not MIN_FOLDS <= folds <= rows:
        what = "rows of the rarest class" if is_classifier(estimator) else "rows"
        raise UsageError(
            f"{folds} folds asked for: at least {MIN_FOLDS}, at most as many as there are {what}, "
            f"which are {rows}"
        )
    kind = StratifiedKFold if is_classifier(estimator) else KFold
    pairs: Iterator[tuple[Array, Array]] = kind(folds, shuffle=True, random_state=seed).split(
        x, target
    )
    return pairs


def _score(metric: str, fitted: Estimator, x: Floats, y: Array) -> float:
    if metric == "auc":
        return _auc(fitted, x, y)
    said = fitted.predict(x)
    if metric == "mse":
        return float(mean_squared_error(y, said))
    if metric == "f1":
        return float(f1_score(y, said, average="macro"))
    return float(accuracy_score(y, said))


def _auc(fitted: Estimator, x: Floats, y: Array) -> float:
    """Return the area under the ROC curve; of several classes, the mean of each against all."""
    if hasattr(fitted, "predict_proba"):
        scores = np.asarray(fitted.predict_proba(x))
        if scores.shape[1] == _PAIR:
            return float(roc_auc_score(y, scores[:, 1]))
        return float(roc_auc_score(y, scores, multi_class="ovr"))
    scores = np.asarray(fitted.decision_function(x))
    if scores.ndim > 1:
        raise UsageError("auc of several classes needs an estimator that gives probabilities")
    return float(roc_auc_score(y, scores))


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of fold scores.

    Folds share most of their training data, so that the plain interval would be too narrow.
    Source: the corrected resampled t-test of Nadeau and Bengio 2003; of k folds, the test part is
    1 / (k - 1) of the training part.
    """
    folds = len(scores)
    variance = float(np.var(scores, ddof=1)) * (1 / folds + 1 / (folds - 1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, folds - 1)) * variance**0.5
    mean = float(np.mean(scores))
    return mean - half, mean + half


def cross_validate_code(
    spec: str,
    folder: Path,
    *,
    data: Path,
    folds: int,
    metric: str | None = None,
    seed: int = DEFAULT_SEED,
    recipe: Path | None = None,
) -> CrossValidation:
    """Cross-validate what ``module:factory`` makes, on a data file.

    Args:
        spec: ``module:factory``.
        folder: Where the module is looked for.
        data: ``.npz`` or CSV; each sample is one row of numbers with a label.
        folds: How many.
        metric: By default what fits the estimator.
        seed: Chooses which row falls into which fold.
        recipe: Names the classes where the labels are not numbers.

    Raises:
        UsageError: There is no such factory, or the data do not fit.
        StorageError, ContractError: The data cannot be read.
    """
    x, y = _table(data, recipe)
    # What user code prints is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        return cross_validate(
            lambda: make(spec, folder), x, y, folds=folds, metric=metric, seed=seed
        )


def _table(data: Path, recipe: Path | None) -> tuple[Floats, list[str]]:
    """Return rows and labels of a data file."""
    task = Task(type="regression")  # whose labels are numbers, as numbered classes are
    if recipe is not None:
        loaded = load_recipe(recipe, {}).recipe
        if loaded.input.preprocess:
            raise UsageError(
                f"{recipe}: k-fold fits to rows as they stand in the data: prepare them first"
            )
        task = loaded.task
    try:
        dataset = open_dataset(data, task)
        samples = list(dataset.all())
    except ContractError as error:
        if recipe is None and "number" in error.reason:
            raise UsageError(f"{error}: name the classes in a recipe (--recipe)") from error
        raise
    if not dataset.labelled:
        raise UsageError(f"{data} has no labels to judge by")
    rows = [as_floats(sample.data).reshape(-1) for sample in samples]
    if len({row.shape for row in rows}) != 1:
        raise UsageError(f"{data}: samples differ in shape, an estimator needs rows of one length")
    return np.stack(rows), [sample.truth.label for sample in samples]
