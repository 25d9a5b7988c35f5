"""The one door for models: whatever the framework, an ``Origin`` comes out.

An origin is an ONNX file for ``import_model`` and, beside it, the model in its own runtime:
what was imported is held against that (gate 1). Each framework's module is imported only
when a model of that framework is opened.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, cast, get_args

from converters.arrays import Array, Feeds
from edgeops.errors import MissingExtraError, StorageError, UsageError

SourceFormat = Literal[
    "onnx", "tflite", "pytorch", "keras", "savedmodel", "sklearn", "xgboost", "lightgbm"
]
"""Where a model comes from."""

FORMATS: Final[tuple[SourceFormat, ...]] = get_args(SourceFormat)

GATE_TOLERANCE: Final = 1e-3
"""Relative; folding reorders float32 sums, which moves the last of seven digits."""

_BY_SUFFIX: Final[Mapping[str, SourceFormat]] = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".lite": "tflite",
    ".keras": "keras",
}

_RUNS_CODE: Final = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".pt2", ".h5"})
"""Reading such a file can run what somebody put into it."""

_NEEDS_NAMING: Final[Mapping[str, tuple[SourceFormat, ...]]] = {
    ".json": ("xgboost",),
    ".ubj": ("xgboost",),
    ".txt": ("lightgbm",),
}
"""Suffixes that say too little."""

_CODE: Final[tuple[SourceFormat, ...]] = ("pytorch", "keras", "sklearn", "xgboost", "lightgbm")
"""What ``module:factory`` can make."""

_SAVED_MODEL: Final = "saved_model.pb"

_OPENERS: Final[Mapping[SourceFormat, tuple[str, str, str]]] = {
    "onnx": ("converters.importing.from_onnx", "open_onnx", "convert"),
    "tflite": ("converters.importing.tflite.opening", "open_tflite", "convert"),
    "pytorch": ("converters.importing.from_torch", "open_torch", "pytorch"),
    "keras": ("converters.importing.from_keras", "open_keras", "keras"),
    "savedmodel": ("converters.importing.from_keras", "open_savedmodel", "keras"),
    "sklearn": ("converters.importing.from_sklearn", "open_sklearn", "sklearn"),
    "xgboost": ("converters.importing.from_trees", "open_xgboost", "trees"),
    "lightgbm": ("converters.importing.from_trees", "open_lightgbm", "trees"),
}
"""Format -> module, function in it, and the extra that brings its libraries."""

_OURS: Final = frozenset({"converters", "edgeops"})


class Reference(Protocol):
    """A model in its own runtime, with the hub's names and layouts."""

    def run(self, feeds: Feeds) -> Mapping[str, Array]:
        """Return output name -> tensor for one sample."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A model as its user has it.

    Attributes:
        kind: Its format.
        onnx: The same computation as an ONNX file, for ``import_model``.
        reference: The model in its own runtime.
        notes: Sentences for people about what was found: half precision, hybrid weights …
        sha256: Of the model's file, or of what stands for it.
        title: What to call it in messages.
        tolerance: Largest relative difference from ``reference`` that gate 1 accepts.
    """

    kind: SourceFormat
    onnx: bytes
    reference: Reference
    notes: tuple[str, ...]
    sha256: str
    title: str
    tolerance: float = GATE_TOLERANCE


class _Opener(Protocol):
    def __call__(self, spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin: ...


def open_origin(
    spec: str,
    folder: Path,
    *,
    source_format: SourceFormat | None,
    shapes: Mapping[str, Sequence[int]],
) -> Origin:
    """Return the model that ``spec`` names.

    Args:
        spec: A path relative to ``folder``, or ``module:factory`` for a model made by code.
        folder: Where paths start.
        source_format: As the user named it; ``None`` goes by the suffix.
        shapes: Input shapes by name, where the model leaves them open.

    Raises:
        UsageError: The format cannot be told, or reading it could run code and nobody
            named it.
        MissingExtraError: The framework is not installed.
        StorageError: The file cannot be read.
        ConversionError: It is no model, damaged, or cannot become ONNX.
    """
    kind = source_format or format_of(spec, folder)
    module, function, extra = _OPENERS[kind]
    try:
        opener = cast("_Opener", getattr(importlib.import_module(module), function))
        return opener(spec, folder, shapes)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        raise MissingExtraError(f"convert --format {kind}", error.name, extra=extra) from error


def format_of(spec: str, folder: Path) -> SourceFormat:
    """Return the format that the name of ``spec`` tells.

    Raises:
        UsageError: It does not tell, or the file may only be read if its user says so.
        StorageError: There is no such file.
    """
    path = folder / spec
    suffix = path.suffix.lower()
    if path.is_dir():
        if (path / _SAVED_MODEL).is_file():
            return "savedmodel"
        if suffix != ".keras":
            raise StorageError(f"cannot read {path}: a folder without {_SAVED_MODEL}")
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix in _RUNS_CODE:
        raise UsageError(
            f"{path.name}: reading such a file can run code that it carries; "
            "name its format (--format) if you trust where it comes from"
        )
    if suffix in _NEEDS_NAMING:
        names = " or ".join(_NEEDS_NAMING[suffix])
        raise UsageError(f"{path.name}: name its format if it is a model (--format {names})")
    if not path.exists() and ":" in spec:
        raise UsageError(
            f"{spec!r} names code: say what it makes with --format, one of {', '.join(_CODE)}"
        )
    if not path.exists():
        raise StorageError(f"cannot read {path}: no such file")
    raise UsageError(
        f"{path.name}: its name does not tell the format; name it with --format, "
        f"one of {', '.join(FORMATS)}"
    )
