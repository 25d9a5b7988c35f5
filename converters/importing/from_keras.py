"""Keras models and SavedModels as origins; image inputs stay NHWC."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.importing.exporter_process import export_origin
from converters.importing.origin import Origin


def open_keras(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the model of a ``.keras`` or ``.h5`` file, or of ``module:factory``.

    Raises:
        MissingExtraError: TensorFlow or tf2onnx is not installed.
        UsageError, StorageError: ``spec`` names no model, or an input shape is open.
        ConversionError: It cannot be exported, or carries code.
    """
    return export_origin("keras", spec, folder, shapes)


def open_savedmodel(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the default signature of a SavedModel folder.

    Raises:
        MissingExtraError: TensorFlow or tf2onnx is not installed.
        UsageError, StorageError: ``spec`` names no model, or an input shape is open.
        ConversionError: It cannot be exported.
    """
    return export_origin("savedmodel", spec, folder, shapes)
