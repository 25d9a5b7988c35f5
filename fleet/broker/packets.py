"""MQTT 3.1.1 packets as frozen objects; ``codec`` turns them into bytes and back.

Clause numbers such as [3.1.2-24] are those of the OASIS standard "MQTT Version 3.1.1".
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from edgeops.errors import ContractError

PROTOCOL_LEVEL: Final = 4
HIGHEST_PACKET_ID: Final = 0xFFFF
SUBSCRIPTION_REFUSED: Final = 0x80


class PacketType(IntEnum):
    """Upper four bits of a packet's first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class ConnectCode(IntEnum):
    """What a CONNACK says."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USERNAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


class PacketError(ContractError):
    """Bytes that are no MQTT 3.1.1 packet; the connection cannot go on."""

    code = "mqtt-packet"


class PacketTooLargeError(PacketError):
    """A packet announces more bytes than this end accepts."""

    code = "mqtt-packet-too-large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker publishes for a client that vanishes."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """The first packet of a connection.

    Attributes:
        keepalive_s: Longest silence of the client in seconds, 0-65535; 0 asks for none.
    """

    client_id: str
    clean_session: bool = True
    keepalive_s: int = 60
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignConnect:
    """A CONNECT of another protocol version; only its level was read."""

    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connack:
    """The answer to a CONNECT."""

    code: ConnectCode
    session_present: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """One message on the wire.

    Attributes:
        packet_id: 1-65535 with QoS 1 and 2, 0 with QoS 0.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0


@dataclass(frozen=True, slots=True)
class Puback:
    """The receiver has taken a QoS 1 message."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Filters with the highest QoS wanted for each, in the client's order."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Suback:
    """Granted QoS, or ``SUBSCRIPTION_REFUSED``, for each filter in order."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Filters that the client wants no more."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsuback:
    """The answer to an UNSUBSCRIBE."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pingreq:
    """The client lives."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The broker lives."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The client leaves on purpose: its will is void."""


Packet = (
    Connect
    | ForeignConnect
    | Connack
    | Publish
    | Puback
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)
