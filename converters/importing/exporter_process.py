"""The near side of the exporters: starts one, takes its ONNX file, asks it samples.

The process ends with the ``ExportedModel`` that speaks to it, or when the converter dies.
"""

import contextlib
import hashlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from converters.arrays import Array, Feeds
from converters.exporters import frames
from converters.exporters.request import Request
from converters.importing.origin import Origin, SourceFormat
from edgeops.errors import (
    ConversionError,
    EdgeOpsError,
    MissingExtraError,
    StorageError,
    UsageError,
)
from edgeops.trust import file_sha256

PYTHON_VARIABLE: Final = "EDGEOPS_EXPORTER_PYTHON"
"""Names the interpreter that has the framework, where it is not the converter's own."""

EXPORT_SECONDS: Final = 900.0
SAMPLE_SECONDS: Final = 120.0
_CHUNK: Final = 1 << 16
_END_SECONDS: Final = 5.0
_TAIL_BYTES: Final = 4096

_EXTRAS: Final[Mapping[str, str]] = {
    "pytorch": "pytorch",
    "keras": "keras",
    "savedmodel": "keras",
    "sklearn": "sklearn",
    "xgboost": "trees",
    "lightgbm": "trees",
}
"""Format -> extra that brings its libraries."""

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "CUDA_VISIBLE_DEVICES": "-1",  # a device has none; results must not depend on this machine's
    "KERAS_BACKEND": "tensorflow",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",  # exporters iterate over sets: same input, same bytes
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

_ERRORS: Final[Mapping[str, type[EdgeOpsError]]] = {
    ConversionError.code: ConversionError,
    StorageError.code: StorageError,
    UsageError.code: UsageError,
}


class ExportedModel:
    """A model in its own framework, and the ONNX file that it was exported to.

    Args:
        request: What to export.
        export_seconds: How long the export may take.
        sample_seconds: How long an answer may take.

    Attributes:
        onnx: The ONNX file.
        notes: Sentences for people.

    Raises:
        MissingExtraError: The interpreter lacks the framework or its exporter.
        UsageError, StorageError: ``request`` names nothing that can be read.
        ConversionError: The framework cannot load or export the model, or takes too long.
    """

    def __init__(
        self,
        request: Request,
        *,
        export_seconds: float = EXPORT_SECONDS,
        sample_seconds: float = SAMPLE_SECONDS,
    ) -> None:
        self._kind = request.kind
        self._sample_seconds = sample_seconds
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        python = _interpreter()
        try:
            self._process = subprocess.Popen(
                [python, "-P", "-m", "converters.exporters", request.to_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                cwd=request.folder,  # paths in a factory start where paths in a recipe do
                env={**os.environ, **_ENVIRONMENT},
            )
        except OSError as error:
            self._log.close()
            raise UsageError(
                f"{PYTHON_VARIABLE}: cannot start {python}: {error.strerror}"
            ) from error
        self._end = weakref.finalize(self, _end, self._process, self._log)
        try:
            header, self.onnx = self._receive(export_seconds)
        except BaseException:  # Ctrl-C too: an export under way has nothing to save
            self._process.kill()
            self.close()
            raise
        notes = header.get("notes", [])
        self.notes: tuple[str, ...] = tuple(map(str, notes)) if isinstance(notes, list) else ()

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Return the original's answer to one sample.

        Raises:
            ConversionError: It fails on this sample, or takes too long.
        """
        if not self._end.alive:
            raise ConversionError("the exporter has ended already")
        message = frames.encode({}, frames.pack(feeds))
        stdin = self._process.stdin
        try:
            if stdin is not None:
                stdin.write(message)
                stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        return frames.unpack(self._receive(self._sample_seconds)[1])

    def close(self) -> None:
        """End the process; otherwise it ends with this object."""
        self._end()

    def _receive(self, seconds: float) -> tuple[frames.Header, bytes]:
        deadline = time.monotonic() + seconds
        line, rest = self._read_line(deadline)
        header, size = frames.parse_header(line)
        payload = bytearray(rest)
        while len(payload) < size:
            payload += self._read(deadline)
        if "error" in header:
            self.close()
            raise self._error(header)
        return header, bytes(payload)

    def _read_line(self, deadline: float) -> tuple[bytes, bytes]:
        found = bytearray()
        while b"\n" not in found:
            if len(found) > frames.MAX_HEADER_BYTES:
                self.close()
                raise ConversionError("the exporter's answer is not readable")
            found += self._read(deadline)
        line, _, rest = bytes(found).partition(b"\n")
        return line, rest

    def _read(self, deadline: float) -> bytes:
        """Return what has come, at least one byte."""
        stdout = self._process.stdout
        if stdout is None:  # never: it was asked for
            raise ConversionError("the exporter has no output")
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                self._process.kill()
                self.close()
                raise ConversionError(
                    f"the {self._kind} exporter took too long and was stopped: try a smaller model"
                )
        data = os.read(stdout.fileno(), _CHUNK)
        if not data:
            raise self._death()
        return data

    def _error(self, header: frames.Header) -> EdgeOpsError:
        kind, message = str(header["error"]), str(header.get("message", ""))
        extra = _EXTRAS[self._kind]
        if kind == "missing":
            return MissingExtraError(
                f"convert --format {self._kind}", str(header.get("module")), extra=extra
            )
        if kind in _ERRORS:
            return _ERRORS[kind](message)
        return ConversionError(f"{self._kind} cannot load or export the model: {message}")

    def _death(self) -> ConversionError:
        """Return the error for a process that ended without a word."""
        tail = _tail(self._log)
        self.close()
        status = self._process.returncode
        if "No module named 'converters'" in tail or "No module named 'edgeops'" in tail:
            return ConversionError(
                f"{PYTHON_VARIABLE}: that interpreter needs edgeops installed too"
            )
        last = tail.strip().splitlines()[-1:] or ["no reason given"]
        return ConversionError(
            f"the {self._kind} exporter ended with status {status}: {last[0][:300]}"
        )


def _interpreter() -> str:
    """Return the interpreter for exporters, found from the present working folder."""
    stated = os.environ.get(PYTHON_VARIABLE)
    if not stated:
        return sys.executable
    return str(Path(stated).absolute()) if os.sep in stated else stated


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _TAIL_BYTES))
    return log.read().decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    """End the process: kindly, by closing its input, then by force."""
    with process:  # closes the pipes and waits
        if process.stdin is not None and not process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    log.close()


def export_origin(
    kind: SourceFormat, spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]
) -> Origin:
    """Return the model that ``spec`` names, exported by a process of its own.

    Raises:
        EdgeOpsError: As ``ExportedModel`` says.
    """
    request = Request(
        kind=kind,
        spec=spec,
        folder=str(folder.resolve()),
        shapes={name: tuple(shape) for name, shape in shapes.items()},
    )
    model = ExportedModel(request)
    return Origin(
        kind=kind,
        onnx=model.onnx,
        reference=model,
        notes=model.notes,
        sha256=_digest(request.path, model.onnx),
        title=spec if request.is_code else request.path.name,
    )


def _digest(path: Path, exported: bytes) -> str:
    """Return the digest of a file or folder; of what was exported, where code made the model."""
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        return hashlib.sha256(exported).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path)} {file_sha256(file)}\n".encode())
    return digest.hexdigest()
