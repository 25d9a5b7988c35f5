"""Bytes to contracts and back; every error says where in the document it is."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from edgeops.contracts.scalars import PATTERNS
from edgeops.errors import ContractError, StorageError
from edgeops.quantities import ByteSize, Duration

T = TypeVar("T")

_PATTERN: Final = re.compile(r"Expected `str` matching regex (.*)")

_FORMS: Final = {repr(pattern): words for pattern, words in PATTERNS.items()}
"""As msgspec quotes them."""

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

MAX_DOCUMENT_BYTES: Final = 1 << 20
"""Largest JSON document that any program of ours reads, unless it says otherwise."""


def read_hook(wanted: type, value: object) -> object:
    """Build our own scalar types from their text or number; for ``msgspec``."""
    if wanted is Duration:
        return Duration.parse(value)
    if wanted is ByteSize:
        return ByteSize.parse(value)
    raise TypeError(f"cannot read {wanted.__name__}")


def _write_hook(value: object) -> object:
    if isinstance(value, Duration):
        return float(value)
    if isinstance(value, ByteSize):
        return int(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__}")


def decode(data: bytes, wanted: type[T], *, where: str, limit: int = MAX_DOCUMENT_BYTES) -> T:
    """Return the JSON document ``data`` as ``wanted``; unknown fields are ignored.

    Args:
        data: UTF-8 JSON as received.
        wanted: A contract class.
        where: Name of the document in error messages, such as ``manifest``.
        limit: Largest accepted length in bytes.

    Raises:
        ContractError: Too long, not JSON, or not what the contract says; ``path`` tells where.
    """
    if len(data) > limit:
        raise ContractError(where, f"is {len(data)} bytes long, at most {limit} are read")
    try:
        return msgspec.json.decode(data, type=wanted, dec_hook=read_hook)
    except msgspec.ValidationError as error:
        path, reason = split_message(str(error))
        raise ContractError(where + path, reason) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractError(where, f"is not JSON: {error}") from error
    except RecursionError as error:
        raise ContractError(where, "is nested too deeply") from error


def read(path: Path, wanted: type[T], *, where: str = "", limit: int = MAX_DOCUMENT_BYTES) -> T:
    """Read one JSON document from a file.

    Raises:
        StorageError: The file cannot be read.
        ContractError: See ``decode``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise ContractError(where or path.name, f"is longer than {limit} bytes")
    return decode(data, wanted, where=where or path.name, limit=limit)


def canonical(value: object) -> bytes:
    """Return the one byte form of a contract: sorted keys, compact, UTF-8, no NaN, no nulls.

    A field that is ``None`` and an absent field mean the same, so ``None`` is left out.

    Raises:
        ContractError: A number is not finite, or a text is no Unicode.
    """
    plain = _without_none(msgspec.to_builtins(value, enc_hook=_write_hook, str_keys=True))
    try:
        text = json.dumps(
            plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except UnicodeEncodeError as error:  # such as a file name in another encoding
        raise ContractError(type(value).__name__, "holds a text that is no Unicode") from error
    except ValueError as error:
        raise ContractError(type(value).__name__, "holds a number that is not finite") from error


def plain(value: object) -> JsonValue:
    """Return a contract as JSON values (for output and free-form records)."""
    return _without_none(msgspec.to_builtins(value, enc_hook=_write_hook, str_keys=True))


def convert(value: object, wanted: type[T], *, where: str) -> T:
    """Return JSON or YAML values as ``wanted``.

    Raises:
        ContractError: A value is not what the contract says.
    """
    try:
        return msgspec.convert(value, type=wanted, dec_hook=read_hook)
    except msgspec.ValidationError as error:
        path, reason = split_message(str(error))
        raise ContractError(where + path, reason) from error


def split_message(message: str) -> tuple[str, str]:
    """Split a msgspec message into (path such as ``.inputs[0]``, reason for people)."""
    reason, separator, place = message.rpartition(" - at `$")
    if not separator:
        key, of_key, _ = message.rpartition(" - at `key` in `$")
        return "", f"a key: {_in_words(key)}" if of_key else _in_words(message)
    return place.rstrip("`"), _in_words(reason)


def _in_words(reason: str) -> str:
    """Return ``reason`` with the form that is expected instead of a known regular expression."""
    match = _PATTERN.fullmatch(reason)
    words = _FORMS.get(match[1]) if match else None
    return reason if words is None else f"Expected {words}"


def _without_none(value: object) -> JsonValue:
    if isinstance(value, Mapping):
        return {str(k): _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _without_none(msgspec.to_builtins(value, enc_hook=_write_hook, str_keys=True))
    raise TypeError(f"{type(value).__name__} has no JSON form")
