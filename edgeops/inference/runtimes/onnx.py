"""ONNX files through ONNX Runtime; the only module of this package that imports it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from edgeops.contracts.manifest import TensorSpec
from edgeops.contracts.scalars import DType
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Array

# Before the import: the library reads it once, and would look up a telemetry host otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _state

_LOG_ERRORS: Final = 3

_DTYPES: Final[dict[str, DType]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}

# The binding registers one class per status code, without a common base of its own.
_ERRORS: Final[tuple[type[Exception], ...]] = (
    *(cls for cls in vars(_state).values() if isinstance(cls, type) and issubclass(cls, Exception)),
    RuntimeError,
    ValueError,
)


class _Port(Protocol):
    """One input or output as ONNX Runtime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


class _Session(Protocol):
    """What we use of ``onnxruntime.InferenceSession``."""

    def get_inputs(self) -> list[_Port]: ...
    def get_outputs(self) -> list[_Port]: ...
    def run(self, names: list[str], feeds: dict[str, Array]) -> list[Array]: ...


class OnnxModel:
    """A loaded ONNX file."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS
        # Spinning workers burn the cores that the cameras and the agent need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise InferenceError(f"cannot load the model {path.name}: {_first(error)}") from error
        self._file = path.name
        self._session: _Session | None = cast("_Session", session)
        self.inputs = tuple(_spec(port, path.name, fixed=True) for port in session.get_inputs())
        self.outputs = tuple(_spec(port, path.name, fixed=False) for port in session.get_outputs())
        self._input_names = [spec.name for spec in self.inputs]
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        """Return the outputs; see ``RuntimeModel.run``."""
        if self._session is None:
            raise InferenceError(f"{self._file} is closed")
        try:
            return self._session.run(
                self._output_names, dict(zip(self._input_names, tensors, strict=True))
            )
        except _ERRORS as error:
            raise InferenceError(f"{self._file} cannot run: {_first(error)}") from error

    def close(self) -> None:
        """Free the session."""
        self._session = None


def _spec(port: _Port, file: str, *, fixed: bool) -> TensorSpec:
    dtype = _DTYPES.get(port.type)
    if dtype is None:
        raise InferenceError(f"{file}: {port.name!r} has the type {port.type}, which is not run")
    shape = []
    for axis, size in enumerate(port.shape):
        if isinstance(size, int) and size > 0:
            shape.append(size)
        elif fixed and axis > 0:
            raise InferenceError(
                f"{file}: input {port.name!r} leaves axis {axis} open ({size!r});"
                " only the batch axis may be symbolic"
            )
        else:
            shape.append(1)
    return TensorSpec(name=port.name, shape=tuple(shape), dtype=dtype)


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
