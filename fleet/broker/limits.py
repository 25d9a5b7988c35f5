"""Every bound of the built-in broker, and the names under which it counts what it drops."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on memory and patience.

    Attributes:
        connect_timeout_s: Time for a new connection to send its CONNECT.
        before_connect_bytes: Largest packet of a client that we do not know yet.
        congestion_bytes: Unsent bytes of one connection at which messages wait in its queue.
        max_sessions_per_user: A device needs one; else one stolen password could take them all.
        offline_expiry_s: A persistent session without its client is forgotten after this time.
    """

    max_packet_bytes: int = MIB
    max_connections: int = 20_000
    max_inflight: int = 1_000
    max_queued_messages: int = 100_000
    max_queued_bytes: int = 32 * MIB
    max_total_queued_bytes: int = 256 * MIB
    max_sessions: int = 100_000
    max_sessions_per_user: int = 50
    max_subscriptions: int = 1_000
    max_retained_messages: int = 200_000
    max_retained_bytes: int = 256 * MIB
    connect_timeout_s: float = 10.0
    before_connect_bytes: int = 128 * 1024
    congestion_bytes: int = 256 * 1024
    offline_expiry_s: float = 7 * 86_400.0


class Drop(StrEnum):
    """Why a message did not reach someone."""

    DENIED_WRITE = "denied-write"
    DENIED_READ = "denied-read"
    SLOW_CONSUMER = "slow-consumer"
    OFFLINE_QUEUE_FULL = "offline-queue-full"
    OFFLINE_QOS0 = "offline-qos0"
    BROKER_QUEUES_FULL = "broker-queues-full"
    RETAINED_FULL = "retained-full"
    SESSION_DISCARDED = "session-discarded"


class Close(StrEnum):
    """Why the broker ended a connection."""

    BY_CLIENT = "by-client"
    LOST = "lost"
    MALFORMED = "malformed"
    TOO_LARGE = "packet-too-large"
    PROTOCOL = "protocol-violation"
    QOS2 = "qos2-publish"
    VERSION = "unsupported-version"
    CONNECT_TIMEOUT = "connect-timeout"
    KEEPALIVE = "keepalive"
    REFUSED = "refused"
    TAKEN_OVER = "taken-over"
    REVOKED = "revoked"
    TOO_MANY = "too-many-connections"
    STOPPING = "stopping"


@dataclass(slots=True)
class Tally:
    """What went through, and what did not, since the start."""

    messages_received: int = 0
    messages_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    connections: int = 0
    dropped: Counter[Drop] = field(default_factory=Counter)
    closed: Counter[Close] = field(default_factory=Counter)
