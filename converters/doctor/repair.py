"""Repair what can be repaired, and prove it: the result loads, and answers as before."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from converters.arrays import Array, Feeds
from converters.doctor import tflite_rules
from converters.doctor.examination import Examination
from converters.doctor.onnx_file import OnnxFile
from converters.importing.gate import compare, require_equal
from converters.importing.origin import Reference
from converters.importing.tflite.file import FileGraph, TfliteFile
from converters.importing.tflite.reference import TfliteReference
from converters.importing.tflite.trial import try_out
from converters.onnx_lifting import modernised
from converters.ort import OrtModel
from converters.tflite.rewriter import TfliteRewriter
from edgeops.durable import write_atomic
from edgeops.errors import ConversionError, UsageError

SAMPLES: Final = 4
TOLERANCE: Final = 1e-4
"""Relative; a repair changes no number, but a runtime may pick another kernel."""

_LOW, _HIGH = -1.0, 1.0


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done.

    Attributes:
        rules: Findings that the new file no longer has.
        compared: Whether outputs were held against the original's; it may not have run.
    """

    out: Path
    rules: tuple[str, ...]
    compared: bool


def repair(examined: Examination, out: Path, *, force: bool) -> Repair:
    """Write a repaired copy to ``out``.

    Raises:
        UsageError: There is nothing to repair, or ``out`` exists or is the file itself.
        ConversionError: The repaired file does not run, or answers otherwise.
        StorageError: It cannot be written.
    """
    rules = tuple(sorted({entry.rule for entry in examined.findings if entry.repairable}))
    if not rules:
        raise UsageError(f"{examined.path.name}: there is nothing that can be repaired")
    if out.exists() and (not force or out.samefile(examined.path)):
        raise UsageError(f"{out} exists already; --force replaces it, but never the input")
    if out.suffix != examined.path.suffix:
        raise UsageError(f"{out.name} should end in {examined.path.suffix}, as the input does")
    if isinstance(examined.parsed, TfliteFile):
        data, compared = _repair_tflite(examined.data, examined.parsed)
    else:
        data, compared = _repair_onnx(examined.data, examined.parsed)
    write_atomic(out, data)
    return Repair(out, rules, compared)


def _repair_tflite(data: bytes, file: TfliteFile) -> tuple[bytes, bool]:
    if len(file.graphs) != 1:
        raise ConversionError(f"{file.title}: files of several graphs are not repaired")
    graph = file.graphs[0]
    rewriter = TfliteRewriter(data)
    for index, tensor in enumerate(graph.tensors):
        axis = tflite_rules.right_axis(tensor)
        if axis is not None and tflite_rules.has_wrong_axis(tensor):
            rewriter.set_scale_axis(index, axis)
    rewriter.set_versions(tflite_rules.oldest_versions(file))
    if not file.signatures:
        rewriter.add_signature(_names(graph, graph.inputs), _names(graph, graph.outputs))
    made = rewriter.finish()
    with TemporaryDirectory() as work:
        new, old = Path(work) / "new.tflite", Path(work) / "old.tflite"
        new.write_bytes(made)
        try_out(new, f"the repaired {file.title}")
        old.write_bytes(data)
        try:
            try_out(old, file.title)
        except ConversionError:
            return made, False
    inputs, outputs = (tuple(_names(graph, p)) for p in (graph.inputs, graph.outputs))
    samples = [
        {
            name: _random(seed, graph.tensors[place].shape, graph.tensors[place].dtype)
            for name, place in _names(graph, graph.inputs).items()
        }
        for seed in range(SAMPLES)
    ]
    _require_same(
        TfliteReference(data, inputs, outputs), TfliteReference(made, inputs, outputs), samples
    )
    return made, True


def _names(graph: FileGraph, places: tuple[int, ...]) -> dict[str, int]:
    """Return a name of its own for each tensor, in order."""
    found: dict[str, int] = {}
    for place in places:
        name = graph.tensors[place].name
        found[name if name not in found else f"{name}_{place}"] = place
    return found


def _repair_onnx(data: bytes, file: OnnxFile) -> tuple[bytes, bool]:
    made = modernised(data)
    new = OrtModel(made)
    try:
        old = OrtModel(data)
    except ConversionError:
        return made, False
    samples = [
        {
            port.name: _random(
                seed,
                tuple(size if isinstance(size, int) and size > 0 else 1 for size in port.dims),
                np.dtype(port.kind) if port.kind != "unknown" else None,
            )
            for port in file.inputs
        }
        for seed in range(SAMPLES)
    ]
    try:
        old.run(samples[0])
    except ConversionError:
        return made, False  # open dimensions that a size of one does not fit
    _require_same(old, new, samples)
    return made, True


def _random(seed: int, shape: tuple[int, ...], dtype: np.dtype[np.generic] | None) -> Array:
    """Return a random tensor: all of an integer's range, and -1 to 1 of a float's."""
    if dtype is None:
        raise ConversionError("an input's element type is not known")
    numbers = np.random.default_rng(seed)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(np.dtype(dtype.str))
        return numbers.integers(limits.min, limits.max + 1, shape).astype(dtype)
    return numbers.uniform(_LOW, _HIGH, shape).astype(dtype)


def _require_same(old: Reference, new: Reference, samples: list[Feeds]) -> None:
    require_equal(compare(old, new, samples), TOLERANCE)
