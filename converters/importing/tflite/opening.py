"""TFLite files as origins: read, imported, and run as they are in their own runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from converters.importing.origin import Origin
from converters.importing.tflite.catalog import import_tflite
from converters.importing.tflite.file import LEFT_OUT, TfliteFile, parse_tflite
from converters.importing.tflite.reference import TfliteReference
from converters.importing.tflite.trial import try_out
from converters.importing.tflite.weights import QUANTIZED_KINDS, hybrid_operators, real_values
from converters.onnx_format import MAX_MODEL_BYTES, serialize
from converters.tflite.rewriter import TfliteRewriter
from edgeops.errors import ConversionError, StorageError
from edgeops.trust import file_sha256

GATE_TOLERANCE: Final = 1e-4
"""Relative; the same float32 sums in another order."""

_FLOAT_KERNELS: Final = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1}
"""Versions that say "weights are float32 too"."""


def read_bytes(path: Path, *, max_bytes: int = MAX_MODEL_BYTES) -> bytes:
    """Return the bytes of a model file.

    Raises:
        StorageError: The file cannot be read.
        ConversionError: It is larger than ``max_bytes``.
    """
    try:
        if not path.is_file():
            raise StorageError(f"cannot read {path}: no such file")
        size = path.stat().st_size
        if size > max_bytes:
            raise ConversionError(f"{path}: {size} bytes, more than the limit of {max_bytes}")
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def open_tflite(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the float (or hybrid) TFLite file ``spec``.

    Inputs keep TFLite's layout: images are NHWC. ``shapes`` are bound by ``import_model``.

    Raises:
        StorageError: The file cannot be read.
        ConversionError: It is no TFLite model, damaged, or quantized already.
        UnsupportedModelError: It uses operators that cannot become ONNX.
    """
    del shapes
    path = folder / spec
    data = read_bytes(path)
    file = parse_tflite(data, path.name)
    imported = import_tflite(file)
    graph = imported.graph
    notes = list(imported.notes)
    runnable = data
    if layers := hybrid_operators(file.graphs[0]):
        runnable = with_float_weights(data, file)
        notes.append(
            f"{path.name} is a hybrid: {len(layers)} operators have int8 weights and float "
            "activations; the weights as they are, in float32, are the reference from here on"
        )
    with TemporaryDirectory() as work:
        trial = Path(work) / "model.tflite"
        trial.write_bytes(runnable)
        try_out(trial, path.name)
    return Origin(
        kind="tflite",
        onnx=serialize(graph),
        reference=TfliteReference(runnable, graph.inputs, graph.outputs),
        notes=tuple(notes),
        sha256=file_sha256(path),
        title=path.name,
        tolerance=GATE_TOLERANCE,
    )


def with_float_weights(data: bytes, file: TfliteFile) -> bytes:
    """Return the file with the integer weights of hybrid layers as float32.

    Raises:
        ConversionError: It cannot be rewritten, or scales do not fit their weights.
    """
    graph = file.graphs[0]
    rewriter = TfliteRewriter(data)
    hybrid = set(hybrid_operators(graph))
    places = {
        index
        for operator in graph.operators
        if operator.index in hybrid
        for index in operator.inputs
        if index != LEFT_OUT
    }
    for index in sorted(places):
        tensor = graph.tensors[index]
        if tensor.data is None or tensor.quantization is None:
            continue
        if tensor.kind in QUANTIZED_KINDS:
            value = real_values(tensor)
            if value is not None:
                rewriter.set_constant(index, value.astype(np.float32))
    rewriter.set_versions(_FLOAT_KERNELS)
    return rewriter.finish()
