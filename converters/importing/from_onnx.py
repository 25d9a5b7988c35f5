"""ONNX files as origins: read, and run as they are in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.importing.origin import GATE_TOLERANCE, Origin
from converters.onnx_format import read_model
from converters.ort import OrtModel
from edgeops.trust import file_sha256


def open_onnx(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the ONNX file ``spec``; ``shapes`` are bound later, by ``import_model``.

    Raises:
        StorageError: The file cannot be read.
        ConversionError: It is no ONNX model, or ONNX Runtime refuses it.
    """
    del shapes
    path = folder / spec
    data = read_model(path)
    return Origin(
        kind="onnx",
        onnx=data,
        reference=OrtModel(data),
        notes=(),
        sha256=file_sha256(path),
        title=path.name,
        tolerance=GATE_TOLERANCE,
    )
