"""Which runtimes this machine has, and model files opened by the right one.

A runtime is imported only when a model for it is opened: finding out costs microseconds.
"""

import importlib.util
import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeops.contracts.manifest import TensorSpec
from edgeops.contracts.scalars import Runtime
from edgeops.errors import InferenceError

if TYPE_CHECKING:
    # NumPy comes with it, which a supervisor that only chooses a variant need not load.
    from edgeops.inference.runtimes.runtime import RuntimeModel

TFLITE_PACKAGES: Final = ("ai_edge_litert", "tflite_runtime")
TFLITE_VARIABLE: Final = "EDGEOPS_TFLITE"
"""Environment variable that chooses one of ``TFLITE_PACKAGES`` where both are installed."""


def available_runtimes() -> tuple[Runtime, ...]:
    """Return the runtimes that are installed here, without importing one."""
    found: list[Runtime] = []
    if tflite_package() is not None:
        found.append("tflite")
    if importlib.util.find_spec("onnxruntime") is not None:
        found.append("onnx")
    return tuple(found)


def tflite_package() -> str | None:
    """Return the package that runs TFLite files here, or ``None``.

    Raises:
        InferenceError: ``EDGEOPS_TFLITE`` names no known package.
    """
    chosen = os.environ.get(TFLITE_VARIABLE, "")
    if chosen and chosen not in TFLITE_PACKAGES:
        raise InferenceError(
            f"{TFLITE_VARIABLE} is {chosen[:40]!r}, expected one of {', '.join(TFLITE_PACKAGES)}"
        )
    for name in (chosen,) if chosen else TFLITE_PACKAGES:
        if importlib.util.find_spec(name) is not None:
            return name
    return None


def runtime_version(runtime: Runtime) -> str:
    """Return the version of the installed runtime, or an empty text where there is none."""
    package = "onnxruntime" if runtime == "onnx" else tflite_package()
    if package is None:
        return ""
    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return ""


def runtime_of(path: Path) -> Runtime:
    """Return which runtime a model file is for, by its suffix.

    Raises:
        InferenceError: The suffix is neither ``.onnx`` nor ``.tflite``.
    """
    match path.suffix.lower():
        case ".onnx":
            return "onnx"
        case ".tflite" | ".lite":
            return "tflite"
    raise InferenceError(f"{path.name} is neither an .onnx nor a .tflite file")


def open_model(path: Path, runtime: Runtime, *, threads: int = 1) -> "RuntimeModel":
    """Load a model file.

    Args:
        path: The model file.
        runtime: What runs it.
        threads: Threads that one inference may use.

    Raises:
        InferenceError: The runtime is not installed, or the file cannot be read or is damaged.
    """
    if runtime not in available_runtimes():
        wanted = "onnxruntime" if runtime == "onnx" else " or ".join(TFLITE_PACKAGES)
        raise InferenceError(f"{path.name} needs the runtime {runtime}: install {wanted}")
    if not path.is_file():
        raise InferenceError(f"cannot read the model {path}: no such file")
    if runtime == "onnx":
        from edgeops.inference.runtimes.onnx import OnnxModel  # noqa: PLC0415  # heavy

        return OnnxModel(path, threads=threads)
    from edgeops.inference.runtimes.tflite import TFLiteModel  # noqa: PLC0415  # heavy

    return TFLiteModel(path, threads=threads)


def check_specs(
    file: str, what: str, expected: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]
) -> None:
    """Check that a model file has the inputs or outputs that its manifest declares.

    Raises:
        InferenceError: Number, element type or shape differ.
    """
    if len(expected) != len(found):
        raise InferenceError(
            f"{file} has {len(found)} {what}s, its manifest declares {len(expected)}"
        )
    for want, have in zip(expected, found, strict=True):
        if want.dtype != have.dtype:
            raise InferenceError(
                f"{file}: {what} {have.name!r} is {have.dtype}, its manifest says {want.dtype}"
            )
        if what == "input" and want.shape != have.shape:
            raise InferenceError(
                f"{file}: {what} {have.name!r} has the shape {list(have.shape)},"
                f" its manifest says {list(want.shape)}"
            )
