"""Where the broker is, as it stands in the configuration."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from edgeops.errors import ContractError

PLAIN_PORT: Final = 1883
TLS_PORT: Final = 8883


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Host, port, and whether the line is encrypted.

    Attributes:
        ca: Own certificate authority (PEM); ``None``: those of the system.
    """

    host: str
    port: int
    tls: bool = False
    ca: Path | None = None

    @classmethod
    def parse(cls, text: str, *, ca: Path | None = None) -> Self:
        """Read ``host:port``, ``mqtt://host[:port]`` or ``mqtts://host[:port]``.

        Raises:
            ContractError: None of these.
        """
        given = text if "://" in text else f"mqtt://{text}"
        try:
            parts = urlsplit(given)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ContractError("mqtt", f"{text!r} is no address: {error}") from error
        if parts.scheme not in {"mqtt", "mqtts"} or not host or parts.path not in {"", "/"}:
            raise ContractError("mqtt", f"{text!r} is not host:port, mqtt://… or mqtts://…")
        if parts.username is not None:
            raise ContractError("mqtt", "names and passwords stand in the credential file")
        tls = parts.scheme == "mqtts"
        return cls(host=host, port=port or (TLS_PORT if tls else PLAIN_PORT), tls=tls, ca=ca)

    def context(self) -> ssl.SSLContext | None:
        """Return how to check the broker's certificate, or ``None`` for a plain line.

        Raises:
            OSError: The own authority's file cannot be read or holds no certificate.
        """
        if not self.tls:
            return None
        return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))

    def __str__(self) -> str:
        """Return the address for people."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"
