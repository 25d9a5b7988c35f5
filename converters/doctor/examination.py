"""Examine a model file: rules first, then a trial in its own runtime."""

from dataclasses import dataclass
from pathlib import Path

from converters.doctor import onnx_rules, tflite_rules
from converters.doctor.findings import FileFormat, Finding, Severity, finding
from converters.doctor.onnx_file import OnnxFile, parse_onnx
from converters.importing.tflite.file import TfliteFile, parse_tflite
from converters.importing.tflite.opening import read_bytes
from converters.importing.tflite.trial import try_out
from converters.onnx_format import read_model
from converters.ort import OrtModel
from edgeops.errors import ConversionError, UsageError

_ORDER: dict[Severity, int] = {"fault": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found in a file, worst first.

    Attributes:
        data: The file, external data folded in.
        parsed: Its parts.
    """

    path: Path
    format: FileFormat
    data: bytes
    parsed: TfliteFile | OnnxFile
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is nothing but notes."""
        return all(found.severity == "note" for found in self.findings)


def format_of_file(path: Path) -> FileFormat:
    """Return the format by the suffix; raises ``UsageError`` for others."""
    match path.suffix.lower():
        case ".tflite" | ".lite":
            return "tflite"
        case ".onnx":
            return "onnx"
    raise UsageError(f"{path.name} is neither an .onnx nor a .tflite file")


def examine(path: Path) -> Examination:
    """Return what is worth knowing about the file at ``path``.

    Raises:
        UsageError: It is neither ONNX nor TFLite by its name.
        StorageError: It cannot be read.
        ConversionError: It is damaged beyond reading.
    """
    if format_of_file(path) == "tflite":
        data = read_bytes(path)
        file = parse_tflite(data, path.name)
        found = [entry for check in tflite_rules.CHECKS for entry in check(file)]
        found += _trial(path, found)
        return Examination(path, "tflite", data, file, _sorted(found))
    data = read_model(path)
    model = parse_onnx(data, path.name)
    found = [entry for check in onnx_rules.CHECKS for entry in check(model)]
    found += _load(data, model, found)
    return Examination(path, "onnx", data, model, _sorted(found))


def _sorted(found: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(found, key=lambda entry: _ORDER[entry.severity]))


def _trial(path: Path, known: list[Finding]) -> list[Finding]:
    """Run a TFLite file once; what a rule explains already is not said twice."""
    if any(entry.severity == "fault" or entry.rule == "custom-operator" for entry in known):
        return []
    try:
        try_out(path, path.name)
    except ConversionError as error:
        return [finding("runtime-refuses", "", str(error))]
    return []


def _load(data: bytes, model: OnnxFile, known: list[Finding]) -> list[Finding]:
    if any(entry.severity == "fault" for entry in known):
        return []
    try:
        OrtModel(data)
    except ConversionError as error:
        reason = str(error)
        if _is_about_versions(reason):
            versions = f"container {model.ir_version}, operator set {model.opset}"
            return [finding("too-new", "", f"{versions}: {reason}")]
        return [finding("runtime-refuses", "", reason)]
    return []


def _is_about_versions(reason: str) -> bool:
    words = reason.lower()
    return "ir version" in words or "ir_version" in words or "opset" in words
