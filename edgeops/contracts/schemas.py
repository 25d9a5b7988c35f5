"""JSON Schemas of the wire contracts, generated from the classes.

``python -m edgeops.contracts.schemas docs/reference/schemas`` writes them; a test holds the
committed files and the classes together.
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Final

import msgspec

from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.manifest import Manifest
from edgeops.contracts.result import Result
from edgeops.contracts.telemetry import Ack, Frame
from edgeops.contracts.update import Assignment, Bell, Connection, DeviceReport
from edgeops.trust import Envelope, Signature

PUBLISHED: Final[dict[str, type]] = {
    "ack": Ack,
    "alert": AlertEvent,
    "assignment": Assignment,
    "bell": Bell,
    "connection": Connection,
    "envelope": Envelope,
    "frame": Frame,
    "manifest": Manifest,
    "report": DeviceReport,
    "result": Result,
    "signature": Signature,
}


def documents() -> dict[str, str]:
    """Return file name to JSON Schema text."""
    return {
        f"{name}.schema.json": json.dumps(
            _dedented(msgspec.json.schema(kind, schema_hook=_free_form)), indent=1, sort_keys=True
        )
        + "\n"
        for name, kind in PUBLISHED.items()
    }


def _dedented(value: object) -> object:
    """Strip the indentation of docstrings, which Python 3.13 does and 3.12 does not."""
    if isinstance(value, dict):
        return {
            key: inspect.cleandoc(child) if key == "description" else _dedented(child)
            for key, child in value.items()
        }
    return [_dedented(child) for child in value] if isinstance(value, list) else value


def _free_form(kind: type) -> dict[str, object]:
    if kind is object:
        return {"description": "any JSON value"}
    raise NotImplementedError(kind)  # msgspec's word for "this hook does not know the type"


def main() -> int:
    """Write every schema into the folder given."""
    folder = Path(sys.argv[1])
    for name, text in documents().items():
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
