"""ONNX files as origins: read, and run as they are in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Array, Feeds
from converters.importing.classical_outputs import scores_alone
from converters.importing.half_precision import TOLERANCE as HALF_TOLERANCE
from converters.importing.half_precision import is_half
from converters.importing.origin import GATE_TOLERANCE, Origin, Reference
from converters.onnx_format import read_model
from converters.onnx_own_runtime import OnnxOwnRuntime
from converters.ort import OrtModel
from edgeops.errors import ConversionError
from edgeops.trust import file_sha256

_HALF_PORT: Final = "tensor(float16)"
"""ONNX Runtime takes no bfloat16 from NumPy; such inputs are refused by it in words."""


class HalfReference:
    """A model whose inputs or outputs are in half precision, fed and read in float32."""

    def __init__(self, model: OrtModel) -> None:
        self._model = model
        self._halves = {name for name, kind in model.input_types.items() if kind == _HALF_PORT}

    def run(self, feeds: Feeds) -> Mapping[str, Array]:
        """Return output name -> tensor for one sample; raises ``ConversionError``."""
        narrow = {
            name: value.astype(np.float16) if name in self._halves else value
            for name, value in feeds.items()
        }
        return {
            name: value.astype(np.float32) if is_half(value.dtype) else value
            for name, value in self._model.run(narrow).items()
        }


def open_onnx(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the ONNX file ``spec``; ``shapes`` are bound later, by ``import_model``.

    Raises:
        StorageError: The file cannot be read.
        ConversionError: It is no ONNX model, or no runtime runs it.
    """
    del shapes
    path = folder / spec
    data, said = scores_alone(read_model(path))
    notes = list(said)
    tolerance = GATE_TOLERANCE
    reference: Reference
    try:
        # As written: optimizers have been seen to change what a model computes.
        model = OrtModel(data, optimize=False)
    except ConversionError as refusal:
        reference = _other_runtime(data, refusal)
        notes.append(
            f"the original was run in ONNX's reference implementation, for {refusal}"[:400]
        )
    else:
        reference = model
        if OnnxOwnRuntime.has_halves(data):
            reference = HalfReference(model)
            tolerance = HALF_TOLERANCE
            notes.append(
                f"{path.name} is in half precision: it is imported in float32, held against "
                f"the original within {tolerance:g}"
            )
    return Origin(
        kind="onnx",
        onnx=data,
        reference=reference,
        notes=tuple(notes),
        sha256=file_sha256(path),
        title=path.name,
        tolerance=tolerance,
    )


def _other_runtime(data: bytes, refusal: ConversionError) -> Reference:
    """Return ONNX's own implementation for a file that is newer than ONNX Runtime."""
    if not OnnxOwnRuntime.is_newer_than_usual(data):
        raise refusal
    try:
        return OnnxOwnRuntime(data)
    except ConversionError:
        raise refusal from None
