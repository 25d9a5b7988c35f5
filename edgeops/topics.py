"""MQTT topics, built and parsed by one class: ``eo/1/{tenant}/{device}/…``."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from edgeops.errors import ContractError

ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
PREFIX: Final = "eo/1"


class Kind(StrEnum):
    """What a topic carries; the value is its level in the topic."""

    CONN = "conn"
    BELL = "bell"
    REPORTED = "reported"
    TELEMETRY = "telemetry"
    ACK = "ack"
    ALERT = "alert"
    REQUEST = "request"
    RESPONSE = "response"
    BLOB = "blob"


WITH_DETAIL: Final = frozenset({Kind.TELEMETRY, Kind.REQUEST, Kind.RESPONSE, Kind.BLOB})
UP: Final = frozenset({Kind.CONN, Kind.REPORTED, Kind.TELEMETRY, Kind.ALERT, Kind.RESPONSE})
DOWN: Final = frozenset({Kind.BELL, Kind.ACK, Kind.REQUEST})


def check_id(value: str, what: str) -> str:
    """Return ``value``; raises ``ContractError`` unless it is 1-64 of ``A-Z a-z 0-9 _ -``."""
    if not ID.fullmatch(value):
        raise ContractError(what, f"{value!r} is not 1-64 letters, digits, '_' or '-'")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic of one device.

    Attributes:
        detail: Stream of ``telemetry``, id of ``request``/``response``, digest and part of
            ``blob``; empty for the others.
    """

    tenant: str
    device: str
    kind: Kind
    detail: str = ""

    def __post_init__(self) -> None:
        check_id(self.tenant, "topic.tenant")
        check_id(self.device, "topic.device")
        if (self.kind in WITH_DETAIL) != bool(self.detail):
            raise ContractError("topic", f"{self.kind} with the detail {self.detail!r}")
        for level in self.detail.split("/") if self.detail else ():
            check_id(level, "topic.detail")

    def __str__(self) -> str:
        """Return the topic as it goes on the wire."""
        start = f"{PREFIX}/{self.tenant}/{self.device}/{self.kind}"
        return f"{start}/{self.detail}" if self.detail else start

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a topic from the wire.

        Raises:
            ContractError: Not a topic of this contract; wildcards never are.
        """
        levels = text.split("/", 5)
        if len(levels) < 5 or "/".join(levels[:2]) != PREFIX:  # noqa: PLR2004  # five fixed levels
            raise ContractError("topic", f"{text[:120]!r} does not start with {PREFIX}/…/…/")
        try:
            kind = Kind(levels[4])
        except ValueError:
            raise ContractError("topic", f"unknown kind {levels[4][:40]!r}") from None
        return cls(
            tenant=levels[2],
            device=levels[3],
            kind=kind,
            detail=levels[5] if len(levels) > 5 else "",  # noqa: PLR2004
        )


def filter_for(*, tenant: str, kind: Kind, device: str = "+") -> str:
    """Return the subscription filter for one kind, of one device or of all."""
    check_id(tenant, "topic.tenant")
    if device != "+":
        check_id(device, "topic.device")
    tail = "/#" if kind is Kind.BLOB else "/+" if kind in WITH_DETAIL else ""
    return f"{PREFIX}/{tenant}/{device}/{kind}{tail}"
