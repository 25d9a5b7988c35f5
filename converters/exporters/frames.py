"""What the two processes say to each other: a line of JSON, then bytes.

The line is an object whose ``bytes`` is the length of what follows it. Tensors travel as
``.npz`` without pickles: neither side can make the other run code.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import BinaryIO, Final

import numpy as np

from converters.arrays import Array
from edgeops.errors import ConversionError

MAX_HEADER_BYTES: Final = 1 << 20
MAX_PAYLOAD_BYTES: Final = 1 << 30

Header = dict[str, object]


def encode(header: Mapping[str, object], payload: bytes = b"") -> bytes:
    """Return one message."""
    line = json.dumps({**header, "bytes": len(payload)}, sort_keys=True)
    return line.encode() + b"\n" + payload


def parse_header(line: bytes) -> tuple[Header, int]:
    """Return a message's header and the length of its payload.

    Raises:
        ConversionError: The line is no header of ours.
    """
    try:
        header = json.loads(line)
    except ValueError as error:
        raise ConversionError("the exporter's answer is not readable") from error
    size = header.pop("bytes", None) if isinstance(header, dict) else None
    if not isinstance(size, int) or not 0 <= size <= MAX_PAYLOAD_BYTES:
        raise ConversionError("the exporter's answer is not readable, or too large")
    return header, size


def receive(stream: BinaryIO) -> bytes | None:
    """Return the payload of the next message, or ``None`` at the end of the stream."""
    line = stream.readline(MAX_HEADER_BYTES)
    if not line:
        return None
    _, size = parse_header(line)
    return stream.read(size)


def pack(tensors: Mapping[str, Array]) -> bytes:
    """Return named tensors as bytes."""
    buffer = io.BytesIO()
    # By position: as keyword arguments, no tensor could be called "file".
    np.savez(buffer, np.asarray(list(tensors), dtype=np.str_), *tensors.values())
    return buffer.getvalue()


def unpack(payload: bytes) -> dict[str, Array]:
    """Return the tensors that ``pack`` packed.

    Raises:
        ConversionError: They are damaged.
    """
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
            names = [str(name) for name in stored["arr_0"]]
            return {name: stored[f"arr_{number}"] for number, name in enumerate(names, 1)}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ConversionError("tensors from the exporter are damaged") from error
