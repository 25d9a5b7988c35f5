"""TFLite files through LiteRT or tflite_runtime; the only module that imports either.

LiteRT (``ai_edge_litert``) is tflite_runtime's successor with the same interpreter class; old
32-bit boards have wheels of the latter only.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypedDict, cast

import numpy as np

from edgeops.contracts.manifest import TensorSpec
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Array, dtype_name
from edgeops.inference.runtimes.loading import tflite_package

IDENTIFIER = b"TFL3"
_IDENTIFIER_AT = slice(4, 8)


class _Quantization(TypedDict):
    scales: np.ndarray[tuple[int], np.dtype[np.float32]]
    zero_points: np.ndarray[tuple[int], np.dtype[np.int32]]


class _Details(TypedDict):
    name: str
    index: int
    shape: np.ndarray[tuple[int], np.dtype[np.int32]]
    dtype: type[np.generic]
    quantization_parameters: _Quantization


class _Interpreter(Protocol):
    """What we use of ``Interpreter``."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[_Details]: ...
    def get_output_details(self) -> list[_Details]: ...
    def set_tensor(self, index: int, value: Array) -> None: ...
    def get_tensor(self, index: int) -> Array: ...
    def invoke(self) -> None: ...


class TFLiteModel:
    """A loaded TFLite file."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._file = path.name
        _check_identifier(path)
        package = tflite_package()
        if package is None:
            raise InferenceError(f"{path.name} needs the runtime tflite, which is not installed")
        module = importlib.import_module(f"{package}.interpreter")
        try:
            interpreter = cast(
                "_Interpreter", module.Interpreter(model_path=str(path), num_threads=threads)
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError, OSError) as error:
            raise InferenceError(f"cannot load the model {path.name}: {_first(error)}") from error
        # Details are read once: asking per frame costs more than handing over the tensors.
        ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
        self._interpreter: _Interpreter | None = interpreter
        self._input_ids = [detail["index"] for detail in ins]
        self._output_ids = [detail["index"] for detail in outs]
        self.inputs = tuple(_spec(detail, path.name) for detail in ins)
        self.outputs = tuple(_spec(detail, path.name) for detail in outs)

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        """Return the outputs; see ``RuntimeModel.run``."""
        interpreter = self._interpreter
        if interpreter is None:
            raise InferenceError(f"{self._file} is closed")
        try:
            for index, tensor in zip(self._input_ids, tensors, strict=True):
                interpreter.set_tensor(index, tensor)
            interpreter.invoke()
            # get_tensor copies: a view kept across invoke() would be refused or overwritten.
            return [interpreter.get_tensor(index) for index in self._output_ids]
        except (ValueError, RuntimeError) as error:
            raise InferenceError(f"{self._file} cannot run: {_first(error)}") from error

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None


def _check_identifier(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InferenceError(f"cannot read the model {path}: {error.strerror}") from error
    if head[_IDENTIFIER_AT] != IDENTIFIER:
        raise InferenceError(f"cannot load the model {path.name}: it is not a TFLite file")


def _spec(detail: _Details, file: str) -> TensorSpec:
    dtype = dtype_name(np.dtype(detail["dtype"]))
    name = detail["name"]
    if dtype is None:
        raise InferenceError(
            f"{file}: {name!r} has the type {np.dtype(detail['dtype'])}, which is not run"
        )
    shape = tuple(int(size) for size in detail["shape"])
    quantization = detail["quantization_parameters"]
    if dtype.startswith("float") or len(quantization["scales"]) != 1:
        return TensorSpec(name=name, shape=shape, dtype=dtype)
    return TensorSpec(
        name=name,
        shape=shape,
        dtype=dtype,
        scale=float(quantization["scales"][0]),
        zero_point=int(quantization["zero_points"][0]),
    )


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
