"""One client's TCP connection: packets in, the router's answers out.

Whatever bytes arrive, they end in an answer or in a close that is counted by its cause.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from typing import Final, cast

from edgeops.clock import Clock
from fleet.broker.admission import Admission
from fleet.broker.codec import (
    PINGRESP_BYTES,
    REFUSE_VERSION_5,
    Decoder,
    encode,
    encode_publish,
)
from fleet.broker.limits import Close, Drop, Limits, Tally
from fleet.broker.packets import (
    PROTOCOL_LEVEL,
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    ForeignConnect,
    Packet,
    PacketError,
    PacketTooLargeError,
    Pingreq,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from fleet.broker.router import Router
from fleet.broker.session import Session

logger = logging.getLogger(__name__)

KEEPALIVE_GRACE: Final = 1.5
"""Times the client's own keepalive after which silence means that it is gone [3.1.2-24]."""


@dataclass(slots=True, kw_only=True)
class Hub:
    """What all connections of one broker share."""

    limits: Limits
    tally: Tally
    router: Router
    clock: Clock
    admission: Admission
    connections: set["Connection"] = field(default_factory=set)
    unsent: list["Connection"] = field(default_factory=list)

    def flush(self) -> None:
        """Write out what this turn of the event loop produced: one system call per client."""
        waiting, self.unsent = self.unsent, []
        for connection in waiting:
            connection.flush()


class Connection(asyncio.Protocol):
    """Speaks MQTT 3.1.1 with one client; implements ``session.Link``."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._decoder = Decoder(min(hub.limits.before_connect_bytes, hub.limits.max_packet_bytes))
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._will: Will | None = None
        self._is_choked = False
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._silence_allowed_s = hub.limits.connect_timeout_s
        self._heard_s = hub.clock.monotonic()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet nobody: the client speaks first."""
        stream = cast("asyncio.Transport", transport)  # asyncio sets TCP_NODELAY on it
        stream.set_write_buffer_limits(high=self._hub.limits.congestion_bytes)
        self._transport = stream
        if len(self._hub.connections) >= self._hub.limits.max_connections:
            self.close(Close.TOO_MANY)
            return
        self._hub.connections.add(self)
        self._hub.tally.connections += 1

    def data_received(self, data: bytes) -> None:
        """Handle every packet that ``data`` completes."""
        self._heard_s = self._hub.clock.monotonic()
        self._hub.tally.bytes_received += len(data)
        try:
            for packet in self._decoder.feed(data):
                self._handle(packet)
                if self._transport is None:
                    return
        except PacketTooLargeError as error:
            self._reject(Close.TOO_LARGE, str(error))
        except PacketError as error:
            self._reject(Close.MALFORMED, str(error))

    def pause_writing(self) -> None:
        """Let messages wait in the session's queue: the client reads too slowly."""
        self._is_choked = True

    def resume_writing(self) -> None:
        """Go on with what waited."""
        self._is_choked = False
        if self._transport is not None:
            self._transport.resume_reading()
        if self._session is not None:
            self._session.pump()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's
        """Publish the will of a client that left without a word."""
        self._end(Close.LOST)

    # --- session.Link

    def send(self, packet: Publish) -> None:
        """Write one message."""
        self._hub.tally.messages_sent += 1
        self._write(encode_publish(packet))

    def is_congested(self) -> bool:
        """Return whether further messages should wait in the session's queue."""
        return self._is_choked

    def close(self, cause: Close) -> None:
        """End the connection at once; unsent bytes are lost."""
        transport = self._transport
        self._end(cause)
        if transport is not None:
            transport.abort()

    # --- from the server

    def close_if_silent(self, now_s: float) -> None:
        """End the connection of a client that said nothing for too long."""
        if self._silence_allowed_s and now_s - self._heard_s > self._silence_allowed_s:
            self.close(Close.KEEPALIVE if self._session is not None else Close.CONNECT_TIMEOUT)

    def flush(self) -> None:
        """Hand what was written to the transport."""
        if self._transport is None or not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        self._out_bytes = 0
        self._hub.tally.bytes_sent += len(data)
        self._transport.write(data)
        # Only answers to the client's own packets grow the buffer past the mark: stop reading.
        if self._transport.get_write_buffer_size() > 2 * self._hub.limits.congestion_bytes:
            self._transport.pause_reading()

    # --- packets

    def _handle(self, packet: Packet) -> None:
        session = self._session
        if session is None:
            match packet:
                case Connect():
                    self._connect(packet)
                case ForeignConnect():
                    self._refuse_version(packet.level)
                case _:
                    self._reject(Close.PROTOCOL, "the first packet is no CONNECT")  # [3.1.0-1]
            return
        match packet:
            case Publish():
                self._take(session, packet)
            case Puback():
                session.acknowledge(packet.packet_id)
            case Pingreq():
                self._write(PINGRESP_BYTES)
            case Subscribe():
                self._subscribe(session, packet)
            case Unsubscribe():
                for topic_filter in packet.filters:
                    self._hub.router.unsubscribe(session, topic_filter)
                self._write(encode(Unsuback(packet.packet_id)))
            case Disconnect():
                self._will = None
                self._close_after_flush(Close.BY_CLIENT)
            case _:
                self._reject(Close.PROTOCOL, f"{type(packet).__name__} from a connected client")

    def _connect(self, connect: Connect) -> None:
        hub = self._hub
        if (code := hub.admission.judge(connect)) is not ConnectCode.ACCEPTED:
            self._refuse(code, connect)
            return
        client_id = connect.client_id or f"auto-{secrets.token_hex(12)}"
        held = hub.router.session(client_id)
        if held is not None and held.link is not None and held.username != connect.username:
            self._refuse(ConnectCode.IDENTIFIER_REJECTED, connect)
            return
        attached = hub.router.attach(
            client_id=client_id,
            username=connect.username,
            is_clean=connect.clean_session,
            permissions=hub.admission.permissions(connect.username, client_id),
            link=self,
        )
        if attached is None:
            self._refuse(ConnectCode.SERVER_UNAVAILABLE, connect)
            return
        self._session, present = attached
        self._will = connect.will
        self._silence_allowed_s = connect.keepalive_s * KEEPALIVE_GRACE
        self._decoder.max_packet_bytes = hub.limits.max_packet_bytes
        self._write(encode(Connack(code=ConnectCode.ACCEPTED, session_present=present)))
        self._session.resume()

    def _take(self, session: Session, packet: Publish) -> None:
        hub = self._hub
        hub.tally.messages_received += 1
        if packet.qos > 1:
            self._reject(Close.QOS2, f"client {session.client_id!r} published with QoS 2")
            return
        if session.permissions.may_write(packet.topic) and not packet.topic.startswith("$"):
            hub.router.publish(
                topic=packet.topic, payload=packet.payload, qos=packet.qos, retain=packet.retain
            )
        else:  # 3.1.1 has no way to say no, but closing
            hub.tally.dropped[Drop.DENIED_WRITE] += 1
        if packet.qos:
            self._write(encode(Puback(packet.packet_id)))

    def _subscribe(self, session: Session, packet: Subscribe) -> None:
        router = self._hub.router
        codes = [router.subscribe(session, wanted, qos) for wanted, qos in packet.filters]
        self._write(encode(Suback(packet.packet_id, tuple(codes))))
        for (topic_filter, _), code in zip(packet.filters, codes, strict=True):
            if code <= 1:
                router.send_retained(session, topic_filter)

    # --- endings

    def _refuse_version(self, level: int) -> None:
        refusal = encode(Connack(code=ConnectCode.UNACCEPTABLE_PROTOCOL))
        self._write(REFUSE_VERSION_5 if level > PROTOCOL_LEVEL else refusal)
        self._close_after_flush(Close.VERSION)

    def _refuse(self, code: ConnectCode, connect: Connect) -> None:
        logger.warning(
            "client %.80r as user %.80r refused: %s", connect.client_id, connect.username, code.name
        )
        self._write(encode(Connack(code=code)))
        self._close_after_flush(Close.REFUSED)

    def _reject(self, cause: Close, reason: str) -> None:
        client_id = self._session.client_id if self._session is not None else None
        logger.warning("client %.80r closed (%s): %s", client_id, cause, reason)
        self.close(cause)

    def _close_after_flush(self, cause: Close) -> None:
        self.flush()
        transport = self._transport
        self._end(cause)
        if transport is None:
            return
        if transport.get_write_buffer_size() == 0:
            transport.close()
        else:  # would wait, uncounted, for as long as the client does not read
            transport.abort()

    def _end(self, cause: Close) -> None:
        """Undo what this connection is to others; once."""
        if self._transport is None:
            return
        hub = self._hub
        self._transport = None
        self._out.clear()
        hub.connections.discard(self)
        hub.tally.closed[cause] += 1
        session, will = self._session, self._will
        self._session = self._will = None
        if session is None:
            return
        hub.router.detach(session, hub.clock.monotonic())
        if will is None or cause is Close.STOPPING:
            return
        if session.permissions.may_write(will.topic) and not will.topic.startswith("$"):
            hub.router.publish(
                topic=will.topic, payload=will.payload, qos=min(will.qos, 1), retain=will.retain
            )
        else:
            hub.tally.dropped[Drop.DENIED_WRITE] += 1

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            return
        if not self._out:
            if not self._hub.unsent:
                asyncio.get_running_loop().call_soon(self._hub.flush)
            self._hub.unsent.append(self)
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > self._hub.limits.congestion_bytes:
            self.flush()  # lets the transport call pause_writing when the client cannot follow
