"""Fitted scikit-learn estimators and pipelines as origins."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.importing.exporter_process import export_origin
from converters.importing.origin import Origin


def open_sklearn(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the estimator of a ``.joblib`` or ``.pkl`` file, or of ``module:factory``.

    A classifier gives its class scores, a regressor its values, an outlier detector one
    score that grows with strangeness, a decomposition its reconstruction of the input.

    Raises:
        MissingExtraError: skl2onnx is not installed.
        UsageError, StorageError: ``spec`` names no fitted estimator.
        ConversionError: It cannot be exported.
    """
    return export_origin("sklearn", spec, folder, shapes)
