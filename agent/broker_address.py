"""Where the broker is, as it stands in the configuration."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from edgeops.errors import ContractError

PLAIN_PORT: Final = 1883
TLS_PORT: Final = 8883


class BrokerTls(ssl.SSLContext):
    """Remembers its socket: paho leaves it open where the handshake fails."""

    _last: ssl.SSLSocket | None = None

    def wrap_socket(  # noqa: D102, PLR0917  # as the standard library has it
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        self._last = super().wrap_socket(
            sock,
            server_side,
            do_handshake_on_connect,
            suppress_ragged_eofs,
            server_hostname,
            session,
        )
        return self._last

    def close_last(self) -> None:
        """Close the socket that was made last."""
        if self._last is not None:
            self._last.close()


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

    def context(self) -> "BrokerTls | None":
        """Return how to check the broker's certificate, or ``None`` for a plain line.

        Raises:
            OSError: The own authority's file cannot be read or holds no certificate.
        """
        if not self.tls:
            return None
        context = BrokerTls(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
        if self.ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=str(self.ca))
        return context

    def __str__(self) -> str:
        """Return the address for people."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"
