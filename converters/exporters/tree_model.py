"""Gradient-boosted trees: exported by ``onnxmltools``, run by their own library."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
import onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType

from converters.arrays import Array
from converters.exporters.code import make
from converters.exporters.onnx_tidying import rename, tidy
from converters.exporters.probing import agrees
from converters.exporters.request import Exported, Request
from edgeops.errors import ConversionError, UsageError

OPSET: Final = 15
"""The newest core operator set that onnxmltools knows."""

SCORES: Final = "scores"
VALUES: Final = "values"

Booster: TypeAlias = Any  # neither library has types that the checks could read

XGBOOST_OBJECTIVES: Final[Mapping[str, str]] = {
    "binary:logistic": SCORES,
    "multi:softprob": SCORES,
    "count:poisson": VALUES,
    "reg:absoluteerror": VALUES,
    "reg:gamma": VALUES,
    "reg:pseudohubererror": VALUES,
    "reg:squarederror": VALUES,
    "reg:tweedie": VALUES,
}
"""Objectives whose export is known to compute the booster's own prediction, and its kind."""

LIGHTGBM_OBJECTIVES: Final[Mapping[str, str]] = {
    "binary": SCORES,
    "multiclass": SCORES,
    "gamma": VALUES,
    "huber": VALUES,
    "poisson": VALUES,
    "quantile": VALUES,
    "regression": VALUES,
    "regression_l1": VALUES,
    "tweedie": VALUES,
}


def export_xgboost(request: Request) -> Exported:
    """Return the booster of a ``.json`` or ``.ubj`` file, or that a factory makes.

    Raises:
        UsageError: It is no XGBoost model.
        StorageError: There is no such file.
        ConversionError: Its kind of booster or objective has no ONNX form.
    """
    import xgboost  # noqa: PLC0415 - whoever converts LightGBM need not have it

    if request.is_code:
        made = make(request.spec, request.root)
        booster = made.get_booster() if isinstance(made, xgboost.XGBModel) else made
        if not isinstance(booster, xgboost.Booster):
            raise UsageError(f"{request.spec!r} made {type(made).__name__}, expected a Booster")
    else:
        path = request.existing_path()
        try:
            booster = xgboost.Booster(model_file=path)
        except xgboost.core.XGBoostError as error:
            raise ConversionError(f"{path.name} is no XGBoost model, or damaged") from error
    learner = json.loads(booster.save_config())["learner"]
    kind = learner["gradient_booster"]["name"]
    if kind != "gbtree":
        raise ConversionError(f"boosters of the kind {kind!r} have no ONNX form, only 'gbtree'")
    if "c" in (booster.feature_types or ()):
        raise ConversionError("categorical features have no ONNX form: encode them as numbers")
    output = _output(learner["objective"]["name"], XGBOOST_OBJECTIVES)
    name = request.single_input(booster.num_features())

    def predict(rows: Array) -> Array:
        # As many trees as there are: a remembered best round would leave the rest out.
        answer: Array = booster.predict(
            xgboost.DMatrix(rows, feature_names=booster.feature_names),
            iteration_range=(0, booster.num_boosted_rounds()),
            validate_features=False,
        )
        return answer

    names = booster.feature_names
    booster.feature_names = None  # the exporter knows numbered features only
    model = onnxmltools.convert_xgboost(
        booster,
        initial_types=[(name, FloatTensorType([1, booster.num_features()]))],
        target_opset=OPSET,
    )
    booster.feature_names = names
    return _exported(model, output, name, predict, booster.num_features())


def export_lightgbm(request: Request) -> Exported:
    """Return the booster of a text file, or that a factory makes.

    Raises:
        UsageError: It is no LightGBM model.
        StorageError: There is no such file.
        ConversionError: Its objective or kind of tree has no ONNX form.
    """
    import lightgbm  # noqa: PLC0415 - whoever converts XGBoost need not have it

    if request.is_code:
        made = make(request.spec, request.root)
        booster = made.booster_ if isinstance(made, lightgbm.LGBMModel) else made
        if not isinstance(booster, lightgbm.Booster):
            raise UsageError(f"{request.spec!r} made {type(made).__name__}, expected a Booster")
    else:
        path = request.existing_path()
        try:
            booster = lightgbm.Booster(model_file=path)
        except lightgbm.basic.LightGBMError as error:
            raise ConversionError(f"{path.name} is no LightGBM model, or damaged") from error
    text = booster.model_to_string()
    if "\nis_linear=1" in text:
        raise ConversionError("trees with linear leaves (linear_tree) have no ONNX form")
    objective = booster.dump_model(num_iteration=1).get("objective", "").split(" ")[0]
    output = _output(objective, LIGHTGBM_OBJECTIVES)
    name = request.single_input(booster.num_feature())
    # Read anew from text: a booster in memory may remember a best round and leave trees out.
    plain = lightgbm.Booster(model_str=text)
    model = onnxmltools.convert_lightgbm(
        plain,
        initial_types=[(name, FloatTensorType([1, booster.num_feature()]))],
        target_opset=OPSET,
        zipmap=False,
    )
    whole = re.search(r"^num_cat=[1-9]", text, re.MULTILINE) is not None
    return _exported(model, output, name, plain.predict, booster.num_feature(), whole=whole)


def _output(objective: str, known: Mapping[str, str]) -> str:
    if objective not in known:
        raise ConversionError(
            f"the objective {objective!r} has no ONNX form; there are {', '.join(sorted(known))}"
        )
    return known[objective]


def _exported(
    model: onnx.ModelProto,
    output: str,
    name: str,
    predict: Callable[[Array], Array],
    features: int,
    *,
    whole: bool = False,
) -> Exported:
    """Return the model with its one output, after it has proved itself.

    Raises:
        ConversionError: It does not compute what the booster does.
    """
    rename(model, {model.graph.output[-1].name: output})
    file = tidy(model, [output])

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        found = np.asarray(predict(feeds[name]), np.float32)
        if output == SCORES and found.ndim == 1:  # the chance of the second of two classes
            found = np.stack([1 - found, found], axis=1)
        return {output: found.reshape(len(found), -1)}

    if not agrees(file, run, name, features, whole=whole):
        raise ConversionError("the exported trees do not compute what the booster does")
    return Exported(onnx=file, run=run)
