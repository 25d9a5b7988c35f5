"""Reads our programs' JSON answers; a field that is not there ends the demo with a sentence."""

from edgeops.codec import JsonValue
from edgeops.errors import CheckFailedError


def mapping(value: JsonValue, what: str) -> dict[str, JsonValue]:
    """Return ``value`` as a mapping; raises ``CheckFailedError``."""
    if not isinstance(value, dict):
        raise CheckFailedError(f"{what} answered {str(value)[:80]!r}, not a JSON object")
    return value


def at(value: dict[str, JsonValue], *keys: str) -> dict[str, JsonValue]:
    """Return the mapping below ``keys``; raises ``CheckFailedError``."""
    for key in keys:
        value = mapping(value.get(key), f"field {key}")
    return value


def text(value: dict[str, JsonValue], key: str) -> str:
    """Return the text at ``key``; raises ``CheckFailedError``."""
    found = value.get(key)
    if not isinstance(found, str):
        raise CheckFailedError(f"the field {key!r} is {found!r}, not text")
    return found


def number(value: dict[str, JsonValue], key: str) -> float:
    """Return the number at ``key``; raises ``CheckFailedError``."""
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise CheckFailedError(f"the field {key!r} is {found!r}, not a number")
    return found


def listed(value: dict[str, JsonValue], key: str) -> list[JsonValue]:
    """Return the list at ``key``; raises ``CheckFailedError``."""
    found = value.get(key)
    if not isinstance(found, list):
        raise CheckFailedError(f"the field {key!r} is {found!r}, not a list")
    return found
