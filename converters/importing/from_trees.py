"""Gradient-boosted trees as origins: model files of XGBoost and LightGBM."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.importing.exporter_process import export_origin
from converters.importing.origin import Origin


def open_xgboost(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the booster of a ``.json`` or ``.ubj`` file, or of ``module:factory``.

    Raises:
        MissingExtraError: XGBoost or onnxmltools is not installed.
        UsageError, StorageError: ``spec`` names no booster.
        ConversionError: It cannot be exported.
    """
    return export_origin("xgboost", spec, folder, shapes)


def open_lightgbm(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the booster of a text file of LightGBM, or of ``module:factory``.

    Raises:
        MissingExtraError: LightGBM or onnxmltools is not installed.
        UsageError, StorageError: ``spec`` names no booster.
        ConversionError: It cannot be exported.
    """
    return export_origin("lightgbm", spec, folder, shapes)
