"""Fitted scikit-learn estimators: exported by ``skl2onnx``, run by scikit-learn.

Whatever the estimator, the file has one float output that the devices' decoders know:
one score for each class, predicted values, an anomaly score, or a reconstruction.
"""

import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import joblib
import numpy as np
import onnx
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from sklearn.base import BaseEstimator, is_classifier, is_outlier_detector, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from converters.arrays import Array, Floats, as_floats
from converters.exporters.code import make
from converters.exporters.onnx_tidying import append_nodes, rename, tidy
from converters.exporters.probing import PROBES, agrees
from converters.exporters.request import Exported, Request
from converters.ort import OrtModel
from edgeops.errors import ConversionError, UsageError

OPSETS: Final[Mapping[str, int]] = {"": 17, "ai.onnx.ml": 3}
"""Those of the converter's own graph."""

SCORES: Final = "scores"
SCORE: Final = "score"
VALUES: Final = "values"
RECONSTRUCTION: Final = "reconstruction"

Estimator: TypeAlias = Any  # scikit-learn has no types
Answer: TypeAlias = Callable[[Array], Array]
"""Rows to one row of answers for each."""

_RAW: Final[tuple[Mapping[str, object], ...]] = (
    {"zipmap": False, "raw_scores": True},
    {"raw_scores": True},
)
_PLAIN: Final[tuple[Mapping[str, object], ...]] = ({"zipmap": False}, {})

_DAMAGE: Final = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    struct.error,
)
"""What unpickling raises besides its own error, which this process ends with anyway."""

_AFFINE_TOLERANCE: Final = 1e-4


def export_sklearn(request: Request) -> Exported:
    """Return the estimator that a factory makes or that a ``.joblib`` or ``.pkl`` file holds.

    Raises:
        UsageError: It is no fitted estimator with numbers as input.
        StorageError: There is no such file.
        ConversionError: skl2onnx or the devices' decoders have no form for it.
    """
    notes: list[str] = []
    if request.is_code:
        estimator = make(request.spec, request.root)
    else:
        path = request.existing_path()
        estimator = _load(path)
        notes.append(f"{path.name} is a pickle: loading it ran the code that it carries")
    if not isinstance(estimator, BaseEstimator):
        raise UsageError(
            f"{request.spec!r} is {type(estimator).__name__}, expected a scikit-learn estimator"
        )
    features = _features(estimator, request.spec)
    name = request.single_input(features)
    return export_estimator(estimator, name, features, tuple(notes))


def _load(path: Path) -> object:
    """Return the object that a pickle holds.

    Raises:
        ConversionError: It is damaged, or made by another version.
    """
    try:
        return joblib.load(path)
    except _DAMAGE as error:
        raise ConversionError(
            f"{path.name} cannot be loaded ({type(error).__name__}): it is damaged, or was made "
            "by another version of scikit-learn"
        ) from error


def _features(estimator: Estimator, title: str) -> int:
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise UsageError(
            f"{title}: fit the {type(estimator).__name__} before it is exported"
        ) from error
    features = getattr(estimator, "n_features_in_", None)
    if not isinstance(features, int):
        raise ConversionError(
            f"the {type(estimator).__name__} does not say how many numbers it takes"
        )
    return features


def export_estimator(
    estimator: Estimator,
    name: str,
    features: int,
    notes: tuple[str, ...] = (),
) -> Exported:
    """Return a fitted estimator as ONNX, with the one output that its kind calls for.

    Args:
        estimator: Fitted.
        name: What to call the input, of the shape ``(1, features)``.
        features: How many numbers it takes.
        notes: Sentences to begin with.

    Raises:
        ConversionError: There is no form for it.
    """
    if is_classifier(estimator):
        kind, output, answer = "classifier", SCORES, _class_scores(estimator)
        labels = ", ".join(map(str, estimator.classes_))
        notes = (*notes, f"task.labels must name the classes in this order: {labels}")
        if not hasattr(estimator, "predict_proba"):
            notes = (*notes, "the scores are distances from a boundary, not probabilities")
    elif is_outlier_detector(estimator):
        kind, output, answer = "outlier detector", SCORE, _strangeness(estimator)
        notes = (*notes, "the score is the negated decision function: an outlier is above 0")
    elif is_regressor(estimator):
        kind, output, answer = "regressor", VALUES, estimator.predict
    elif hasattr(_last(estimator), "components_") and hasattr(estimator, "inverse_transform"):
        kind, output, answer = "transformer", RECONSTRUCTION, _round_trip(estimator)
        notes = (*notes, "the output is the reconstruction of the input, by inverse_transform")
    else:
        raise ConversionError(
            f"{type(estimator).__name__} is no classifier, regressor or outlier detector, and "
            "cannot reconstruct its input: devices would not know what to do with its output"
        )

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        found = np.asarray(answer(feeds[name]), np.float32)
        return {output: found.reshape(len(found), -1)}

    for model in _candidates(estimator, name, features):
        if not model.graph.output[-1].type.HasField("tensor_type"):
            continue  # a ZipMap's list of dictionaries
        _put_output(model, kind, output, estimator)
        onnx_file = tidy(model, [output])
        if agrees(onnx_file, run, name, features):
            return Exported(onnx=onnx_file, run=run, notes=notes)
    raise ConversionError(
        f"skl2onnx has no form of {type(estimator).__name__} that computes what scikit-learn does"
    )


def _class_scores(estimator: Estimator) -> Answer:
    """Return what gives one score for each class: probabilities, or signed distances.

    Raises:
        ConversionError: It scores pairs of classes.
    """
    if hasattr(estimator, "predict_proba"):
        return cast("Answer", estimator.predict_proba)
    if getattr(_last(estimator), "decision_function_shape", "ovr") != "ovr":
        raise ConversionError("set decision_function_shape='ovr': devices want a score per class")

    def distances(rows: Array) -> Array:
        found = as_floats(estimator.decision_function(rows))
        return np.stack([-found, found], axis=1) if found.ndim == 1 else found

    return distances


def _strangeness(estimator: Estimator) -> Answer:
    return lambda rows: -as_floats(estimator.decision_function(rows))


def _round_trip(estimator: Estimator) -> Answer:
    return lambda rows: np.asarray(estimator.inverse_transform(estimator.transform(rows)))


def _last(estimator: Estimator) -> Estimator:
    return _last(estimator.steps[-1][1]) if isinstance(estimator, Pipeline) else estimator


def _candidates(
    estimator: Estimator,
    name: str,
    features: int,
) -> Iterator[onnx.ModelProto]:
    """Yield skl2onnx's files for the estimator, by all options that its class knows.

    Which options a class knows is written nowhere, and what comes out differs in the order
    and number of columns between classes: each file has to prove itself.
    """
    kind = FloatTensorType([1, features])
    last = _last(estimator)
    refusal: Exception | None = None
    for options in _PLAIN if hasattr(estimator, "predict_proba") else _RAW + _PLAIN:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it reads what scikit-learn has deprecated
                model = skl2onnx.to_onnx(
                    estimator,
                    initial_types=[(name, kind)],
                    options={id(last): dict(options)} if options else None,
                    target_opset=dict(OPSETS),
                )
        except NameError:  # "Option 'zipmap' not in …"
            continue
        except (MissingShapeCalculator, MissingConverter) as error:
            raise ConversionError(f"skl2onnx does not know {type(last).__name__}") from error
        except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            refusal = error
        else:
            yield model
    if refusal is not None:
        reason = str(refusal.__cause__ or refusal).splitlines()[0][:200]
        raise ConversionError(f"skl2onnx fails on {type(last).__name__}: {reason}") from refusal


def _put_output(model: onnx.ModelProto, kind: str, output: str, estimator: Estimator) -> None:
    """Give ``model``, in place, the output that devices want of this kind of estimator."""
    raw = model.graph.output[-1].name
    if kind == "outlier detector":
        append_nodes(model, [("Neg", [raw], output)])
    elif kind == "transformer":
        matrix, offset = _affine_inverse(estimator)
        constants = {f"{output}_matrix": matrix, f"{output}_offset": offset}
        append_nodes(model, [("Gemm", [raw, *constants], output)], constants)
    elif kind == "classifier" and _width(model, raw) == 1:
        opposite = f"{output}_opposite"
        append_nodes(model, [("Neg", [raw], opposite), ("Concat", [opposite, raw], output)])
    else:
        rename(model, {raw: output})


def _width(model: onnx.ModelProto, output: str) -> int:
    """Return how many numbers ``output`` has: the file does not always state it rightly."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    source = model.graph.input[0]
    features = source.type.tensor_type.shape.dim[1].dim_value
    probe = OrtModel(tidy(copy, [output])).run({source.name: np.zeros((1, features), np.float32)})
    return int(probe[output].size)


def _affine_inverse(estimator: Estimator) -> tuple[Floats, Floats]:
    """Return matrix and offset of ``inverse_transform``, where it is an affine map.

    Raises:
        ConversionError: It is none.
    """
    last = _last(estimator)
    rows = np.eye(len(last.components_), dtype=np.float64)
    offset = np.asarray(estimator.inverse_transform(np.zeros((1, len(rows)))), np.float64)[0]
    matrix = np.asarray(estimator.inverse_transform(rows), np.float64) - offset
    probe = np.random.default_rng(0).normal(size=(PROBES, len(rows)))
    expected = np.asarray(estimator.inverse_transform(probe), np.float64)
    error = np.abs(probe @ matrix + offset - expected).max(initial=0.0)
    if not error <= _AFFINE_TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0))):
        raise ConversionError(
            f"the inverse_transform of {type(last).__name__} is no linear map: only a "
            "reconstruction such as PCA's can be exported"
        )
    return as_floats(matrix), as_floats(offset)
