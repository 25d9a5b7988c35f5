"""The exporter process: exports one model, then answers samples until its input ends."""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import BinaryIO, Final, cast

from converters.exporters import frames
from converters.exporters.request import Exported, Request
from edgeops.errors import EdgeOpsError

_EXPORTERS: Final[Mapping[str, tuple[str, str]]] = {
    "pytorch": ("converters.exporters.torch_model", "export_torch"),
    "keras": ("converters.exporters.keras_model", "export_keras"),
    "savedmodel": ("converters.exporters.keras_model", "export_savedmodel"),
    "sklearn": ("converters.exporters.sklearn_model", "export_sklearn"),
    "xgboost": ("converters.exporters.tree_model", "export_xgboost"),
    "lightgbm": ("converters.exporters.tree_model", "export_lightgbm"),
}

_LOOK_SECONDS: Final = 1.0


def main() -> None:
    """Answer on what was standard output; all that libraries print goes to standard error."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.excepthook = _reporter(replies)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    request = Request.of_json(sys.argv[1])
    module, function = _EXPORTERS[request.kind]
    export = cast(
        "Callable[[Request], Exported]", getattr(importlib.import_module(module), function)
    )
    exported = export(request)
    _send(replies, {"notes": list(exported.notes)}, exported.onnx)
    while (payload := frames.receive(sys.stdin.buffer)) is not None:
        _send(replies, {}, frames.pack(exported.run(frames.unpack(payload))))


def _end_with(converter: int) -> None:
    """End this process when the converter is gone: an export may take minutes to notice."""
    never = threading.Event()
    while os.getppid() == converter:
        never.wait(_LOOK_SECONDS)
    os._exit(1)


def _send(replies: BinaryIO, header: Mapping[str, object], payload: bytes = b"") -> None:
    replies.write(frames.encode(header, payload))
    replies.flush()


def _reporter(
    replies: BinaryIO,
) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """Return a hook that tells the converter why the process ends."""

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            _send(replies, describe(error))
        sys.__excepthook__(kind, error, trace)

    return report


def describe(error: Exception) -> dict[str, str]:
    """Return an error as a message's header."""
    if isinstance(error, ModuleNotFoundError):
        return {"error": "missing", "module": error.name or "?", "message": str(error)}
    if isinstance(error, EdgeOpsError):
        return {"error": error.code, "message": str(error)}
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    return {"error": "fault", "message": f"{type(root).__name__}: {_sentence(root)}"}


def _sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no reason given"


if __name__ == "__main__":
    main()
