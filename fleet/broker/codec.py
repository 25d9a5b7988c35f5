"""MQTT 3.1.1 bytes to packets and back: pure, and the only error is ``PacketError``."""

import struct
from collections.abc import Iterator
from typing import Final

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
    PacketType,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from fleet.broker.topics import TopicError, check_filter, check_topic

MORE_FOLLOWS: Final = 0x80
LONGEST_LENGTH_FIELD: Final = 4
"""Bytes of the "remaining length"; a fifth one is malformed [2.2.3]."""
PINGRESP_BYTES: Final = bytes([PacketType.PINGRESP << 4, 0])
REFUSE_VERSION_5: Final = bytes([PacketType.CONNACK << 4, 3, 0, 0x84, 0])
"""CONNACK as MQTT 5 writes it: flags, reason 0x84 "unsupported protocol version", no properties."""
_KINDS: Final = {int(kind): kind for kind in PacketType}


class Decoder:
    """Cuts a byte stream into packets; keeps at most one unfinished packet.

    Args:
        max_packet_bytes: Largest packet accepted, header included; may be changed at any time.
    """

    def __init__(self, max_packet_bytes: int) -> None:
        self.max_packet_bytes = max_packet_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield each packet that ``data`` completes.

        Raises:
            PacketError: The bytes are no packet; the packets before were yielded.
        """
        self._buffer += data
        start = 0
        try:
            while (span := self._next_span(start)) is not None:
                body, end = span
                packet = decode(self._buffer[start], bytes(self._buffer[body:end]))
                start = end
                yield packet
        finally:
            del self._buffer[:start]

    def _next_span(self, start: int) -> tuple[int, int] | None:
        """Return where the body of the packet at ``start`` begins and ends, if it is all here."""
        buffer = self._buffer
        if start < len(buffer):
            check_first_byte(buffer[start])  # at once: who speaks HTTP shall not wait for more
        length = 0
        for index in range(LONGEST_LENGTH_FIELD):
            at = start + 1 + index
            if at >= len(buffer):
                return None
            byte = buffer[at]
            length |= (byte & 0x7F) << (7 * index)
            if not byte & MORE_FOLLOWS:
                end = at + 1 + length
                if end - start > self.max_packet_bytes:
                    raise PacketTooLargeError(
                        "packet.length",
                        f"{end - start} bytes, at most {self.max_packet_bytes} are accepted",
                    )
                return (at + 1, end) if end <= len(buffer) else None
        raise PacketError("packet.length", "longer than four bytes")


class _Reader:
    """Reads fields from one packet's body."""

    __slots__ = ("at", "body", "place")

    def __init__(self, body: bytes, place: str) -> None:
        self.body = body
        self.place = place
        self.at = 0

    def byte(self) -> int:
        return self.take(1)[0]

    def word(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.body):
            raise PacketError(self.place, f"{count} bytes wanted, {len(self.body) - self.at} left")
        found = self.body[self.at : end]
        self.at = end
        return found

    def binary(self) -> bytes:
        return self.take(self.word())

    def text(self) -> str:
        raw = self.binary()
        if b"\0" in raw:
            raise PacketError(self.place, "a string holds U+0000")  # [1.5.3-2]
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise PacketError(self.place, f"a string is not UTF-8: {error.reason}") from error

    def packet_id(self) -> int:
        found = self.word()
        if found == 0:
            raise PacketError(self.place, "packet id 0")  # [2.3.1-1]
        return found

    def rest(self) -> bytes:
        return self.take(len(self.body) - self.at)

    def finish(self) -> None:
        if self.at != len(self.body):
            raise PacketError(self.place, f"{len(self.body) - self.at} bytes too many")


def decode(first: int, body: bytes) -> Packet:
    """Return the packet with first byte ``first`` and the bytes after its length field.

    Raises:
        PacketError: A field breaks the standard, or the packet belongs to QoS 2's handshake.
    """
    kind = check_first_byte(first)
    if kind is PacketType.PUBLISH:
        return _decode_publish(first & 0x0F, body)
    reader = _Reader(body, kind.name.lower())
    packet = _decode_plain(kind, reader)
    if not isinstance(packet, ForeignConnect):
        reader.finish()
    return packet


def check_first_byte(first: int) -> PacketType:
    """Return the kind of packet that starts with this byte.

    Raises:
        PacketError: We serve no such packet, or its flags are not those it must have [2.2.2-2].
    """
    kind = _KINDS.get(first >> 4)
    if kind is None:
        raise PacketError("packet.type", f"{first >> 4} is not served")
    if kind is PacketType.PUBLISH:
        return kind
    wanted = 2 if kind in {PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE} else 0
    if first & 0x0F != wanted:
        raise PacketError(f"{kind.name.lower()}.flags", f"{first & 0x0F:#x}, must be {wanted:#x}")
    return kind


def _decode_plain(kind: PacketType, reader: _Reader) -> Packet:  # noqa: PLR0911 one per kind
    match kind:
        case PacketType.CONNECT:
            return _decode_connect(reader)
        case PacketType.CONNACK:
            return _decode_connack(reader)
        case PacketType.SUBSCRIBE:
            return _decode_subscribe(reader)
        case PacketType.UNSUBSCRIBE:
            return _decode_unsubscribe(reader)
        case PacketType.SUBACK:
            return Suback(reader.packet_id(), tuple(reader.rest()))
        case PacketType.PUBACK:
            return Puback(reader.packet_id())
        case PacketType.UNSUBACK:
            return Unsuback(reader.packet_id())
        case PacketType.PINGREQ:
            return Pingreq()
        case PacketType.PINGRESP:
            return Pingresp()
        case PacketType.DISCONNECT:
            return Disconnect()
        case PacketType.PUBLISH:
            raise PacketError("packet.type", "a PUBLISH carries its own flags")


def _decode_connect(reader: _Reader) -> Connect | ForeignConnect:
    name, level = reader.text(), reader.byte()
    if (name, level) != ("MQTT", PROTOCOL_LEVEL):
        if name in {"MQTT", "MQIsdp"}:
            return ForeignConnect(level=level)
        raise PacketError("connect.protocol", f"{name[:16]!r} is not MQTT")
    flags, keepalive_s = reader.byte(), reader.word()
    has_will, will_qos, will_retain = bool(flags & 0x04), flags >> 3 & 3, bool(flags & 0x20)
    has_username, has_password = bool(flags & 0x80), bool(flags & 0x40)
    if flags & 0x01:
        raise PacketError("connect.flags", "the reserved bit is set")  # [3.1.2-3]
    if will_qos > 2 or (not has_will and (will_qos or will_retain)):  # noqa: PLR2004 QoS 0, 1, 2
        raise PacketError("connect.will", "QoS or retain without a will, or QoS 3")
    if has_password and not has_username:
        raise PacketError("connect.flags", "a password without a user name")  # [3.1.2-22]
    client_id = reader.text()
    will = None
    if has_will:
        topic = _topic(reader.text(), "connect.will")
        will = Will(topic=topic, payload=reader.binary(), qos=will_qos, retain=will_retain)
    return Connect(
        client_id=client_id,
        clean_session=bool(flags & 0x02),
        keepalive_s=keepalive_s,
        will=will,
        username=reader.text() if has_username else None,
        password=reader.binary() if has_password else None,
    )


def _decode_connack(reader: _Reader) -> Connack:
    present, code = reader.byte(), reader.byte()
    if present > 1 or code > ConnectCode.NOT_AUTHORIZED:
        raise PacketError("connack", f"flags {present}, code {code}")
    return Connack(code=ConnectCode(code), session_present=bool(present))


def _decode_publish(flags: int, body: bytes) -> Publish:
    qos, dup = flags >> 1 & 3, bool(flags & 8)
    if qos > 2 or (dup and qos == 0):  # noqa: PLR2004 QoS 0, 1, 2
        raise PacketError("publish.flags", f"{flags:#x}")  # [3.3.1-2], [3.3.1-4]
    reader = _Reader(body, "publish")
    topic = _topic(reader.text(), "publish.topic")
    packet_id = reader.packet_id() if qos else 0
    return Publish(
        topic=topic,
        payload=reader.rest(),
        qos=qos,
        retain=bool(flags & 1),
        dup=dup,
        packet_id=packet_id,
    )


def _decode_subscribe(reader: _Reader) -> Subscribe:
    packet_id = reader.packet_id()
    filters: list[tuple[str, int]] = []
    while reader.at < len(reader.body):
        wanted = _filter(reader.text(), "subscribe.filter")
        qos = reader.byte()
        if qos > 2:  # noqa: PLR2004 QoS 0, 1, 2
            raise PacketError("subscribe.qos", f"{qos}")  # [3.8.3-4]
        filters.append((wanted, qos))
    if not filters:
        raise PacketError("subscribe", "no filter")  # [3.8.3-3]
    return Subscribe(packet_id, tuple(filters))


def _decode_unsubscribe(reader: _Reader) -> Unsubscribe:
    packet_id = reader.packet_id()
    filters: list[str] = []
    while reader.at < len(reader.body):
        filters.append(_filter(reader.text(), "unsubscribe.filter"))
    if not filters:
        raise PacketError("unsubscribe", "no filter")  # [3.10.3-2]
    return Unsubscribe(packet_id, tuple(filters))


def _topic(topic: str, place: str) -> str:
    try:
        check_topic(topic)
    except TopicError as error:
        raise PacketError(place, error.reason) from error
    return topic


def _filter(topic_filter: str, place: str) -> str:
    try:
        check_filter(topic_filter)
    except TopicError as error:
        raise PacketError(place, error.reason) from error
    return topic_filter


def encode(packet: Packet) -> bytes:  # noqa: PLR0911 one per kind
    """Return the bytes of ``packet``.

    Raises:
        PacketError: A string is longer than 65535 bytes, or a ``ForeignConnect`` is to be sent.
    """
    match packet:
        case Publish():
            return encode_publish(packet)
        case Puback():
            return struct.pack(">BBH", PacketType.PUBACK << 4, 2, packet.packet_id)
        case Unsuback():
            return struct.pack(">BBH", PacketType.UNSUBACK << 4, 2, packet.packet_id)
        case Connack():
            return bytes([PacketType.CONNACK << 4, 2, packet.session_present, packet.code])
        case Suback():
            body = struct.pack(">H", packet.packet_id) + bytes(packet.codes)
            return _framed(PacketType.SUBACK << 4, body)
        case Pingreq():
            return bytes([PacketType.PINGREQ << 4, 0])
        case Pingresp():
            return PINGRESP_BYTES
        case Disconnect():
            return bytes([PacketType.DISCONNECT << 4, 0])
        case Connect():
            return _encode_connect(packet)
        case Subscribe():
            parts = [struct.pack(">H", packet.packet_id)]
            parts += [_string(wanted) + bytes([qos]) for wanted, qos in packet.filters]
            return _framed(PacketType.SUBSCRIBE << 4 | 2, b"".join(parts))
        case Unsubscribe():
            parts = [struct.pack(">H", packet.packet_id)]
            parts += [_string(unwanted) for unwanted in packet.filters]
            return _framed(PacketType.UNSUBSCRIBE << 4 | 2, b"".join(parts))
        case ForeignConnect():
            raise PacketError("connect.protocol", "only MQTT 3.1.1 is written")


def encode_publish(packet: Publish) -> bytes:
    """Return the bytes of a PUBLISH; apart because it is the hot path."""
    first = PacketType.PUBLISH << 4 | packet.dup << 3 | packet.qos << 1 | packet.retain
    packet_id = struct.pack(">H", packet.packet_id) if packet.qos else b""
    return _framed(first, _string(packet.topic) + packet_id + packet.payload)


def _encode_connect(packet: Connect) -> bytes:
    flags = packet.clean_session << 1
    parts = [_string(packet.client_id)]
    if packet.will is not None:
        flags |= 0x04 | packet.will.qos << 3 | packet.will.retain << 5
        parts += [_string(packet.will.topic), _binary(packet.will.payload)]
    if packet.username is not None:
        flags |= 0x80
        parts.append(_string(packet.username))
    if packet.password is not None:
        flags |= 0x40
        parts.append(_binary(packet.password))
    head = _string("MQTT") + struct.pack(">BBH", PROTOCOL_LEVEL, flags, packet.keepalive_s)
    return _framed(PacketType.CONNECT << 4, head + b"".join(parts))


def _framed(first: int, body: bytes) -> bytes:
    length = len(body)
    head = bytearray([first])
    while length > 0x7F:  # noqa: PLR2004 seven bits per byte
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body


def _string(text: str) -> bytes:
    return _binary(text.encode())


def _binary(data: bytes) -> bytes:
    if len(data) > 0xFFFF:  # noqa: PLR2004 two length bytes
        raise PacketError("packet.string", f"{len(data)} bytes do not fit into 65535")
    return struct.pack(">H", len(data)) + data
