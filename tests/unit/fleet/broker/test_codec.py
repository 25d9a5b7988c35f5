"""Packets survive the way to bytes and back, and hostile bytes end in one kind of error."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.broker.codec import (
    Decoder,
    encode,
)
from fleet.broker.packets import (
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    ForeignConnect,
    Packet,
    PacketError,
    PacketTooLargeError,
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

LIMIT = 1 << 20
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
TOPIC = TEXT.map(lambda t: t.replace("+", "p").replace("#", "h")).filter(bool)
FILTER = st.lists(st.sampled_from(["a", "ü", "", "+"]), min_size=1, max_size=5).map("/".join)
FILTERS = FILTER.filter(bool)
PACKET_ID = st.integers(1, 65_535)
QOS = st.integers(0, 2)
WILL = st.builds(Will, topic=TOPIC, payload=st.binary(max_size=50), qos=QOS, retain=st.booleans())
CONNECT = st.builds(
    Connect,
    client_id=TEXT,
    clean_session=st.booleans(),
    keepalive_s=st.integers(0, 65_535),
    will=st.none() | WILL,
    username=TEXT,
    password=st.none() | st.binary(max_size=50),
)
PUBLISH = st.builds(
    Publish,
    topic=TOPIC,
    payload=st.binary(max_size=300),
    qos=st.integers(1, 2),
    retain=st.booleans(),
    dup=st.booleans(),
    packet_id=PACKET_ID,
) | st.builds(Publish, topic=TOPIC, payload=st.binary(max_size=300), retain=st.booleans())
PACKETS: st.SearchStrategy[Packet] = st.one_of(
    CONNECT,
    PUBLISH,
    st.builds(Connack, code=st.sampled_from(list(ConnectCode)), session_present=st.booleans()),
    st.builds(Puback, PACKET_ID),
    st.builds(
        Subscribe, PACKET_ID, st.lists(st.tuples(FILTERS, QOS), min_size=1, max_size=4).map(tuple)
    ),
    st.builds(Suback, PACKET_ID, st.lists(st.sampled_from([0, 1, 128]), max_size=4).map(tuple)),
    st.builds(Unsubscribe, PACKET_ID, st.lists(FILTERS, min_size=1, max_size=4).map(tuple)),
    st.builds(Unsuback, PACKET_ID),
    st.sampled_from([Pingreq(), Pingresp(), Disconnect()]),
)


@given(st.lists(PACKETS, max_size=6), st.integers(1, 40))
def test_packets_survive_any_cutting_of_the_stream(packets: list[Packet], piece: int) -> None:
    stream = b"".join(encode(packet) for packet in packets)
    decoder = Decoder(LIMIT)

    found: list[Packet] = []
    for start in range(0, len(stream), piece):
        found += decoder.feed(stream[start : start + piece])

    assert found == packets


@given(PACKETS, st.data())
def test_a_truncated_packet_is_awaited_not_guessed(packet: Packet, data: st.DataObject) -> None:
    whole = encode(packet)
    cut = data.draw(st.integers(0, len(whole) - 1))

    assert list(Decoder(LIMIT).feed(whole[:cut])) == []


@given(st.binary(max_size=200))
def test_hostile_bytes_raise_packet_errors_only(noise: bytes) -> None:
    with contextlib.suppress(PacketError):
        list(Decoder(LIMIT).feed(noise))


@given(PACKETS, st.data())
def test_a_flipped_byte_raises_packet_errors_only(packet: Packet, data: st.DataObject) -> None:
    mutated = bytearray(encode(packet))
    mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(PacketError):
        list(Decoder(LIMIT).feed(bytes(mutated)))


HEAD = b"\x00\x04MQTT\x04"


def connect_bytes(flags: int, rest: bytes) -> bytes:
    body = HEAD + bytes([flags, 0, 60]) + rest
    return bytes([0x10, len(body)]) + body


@pytest.mark.parametrize(
    ("hostile", "place"),
    [
        (b"\x00\x00", "packet.type"),
        (b"\x50\x02\x00\x01", "packet.type"),  # PUBREC: QoS 2's handshake is not served
        (b"\xf0\x00", "packet.type"),
        (b"\x30\xff\xff\xff\xff\x01", "packet.length"),
        (b"\xc1\x00", "pingreq.flags"),
        (b"\xc0\x01\x00", "pingreq"),
        (b"\x80\x06\x00\x01\x00\x01a\x00", "subscribe.flags"),
        (b"\x82\x02\x00\x01", "subscribe"),
        (b"\x82\x06\x00\x00\x00\x01a\x00", "subscribe"),  # packet id 0
        (b"\x82\x06\x00\x01\x00\x01a\x03", "subscribe.qos"),
        (b"\x82\x07\x00\x01\x00\x02a#\x00", "subscribe.filter"),
        (b"\x82\x05\x00\x01\x00\x09a", "subscribe"),  # string longer than the packet
        (b"\xa2\x02\x00\x01", "unsubscribe"),
        (b"\x36\x05\x00\x01a\x00\x01", "publish.flags"),  # QoS 3
        (b"\x38\x03\x00\x01a", "publish.flags"),  # repeat of QoS 0
        (b"\x30\x02\x00\x00", "publish.topic"),
        (b"\x30\x03\x00\x01+", "publish.topic"),
        (b"\x30\x04\x00\x02\xc3\x28", "publish"),  # no UTF-8
        (b"\x30\x03\x00\x01\x00", "publish"),  # U+0000
        (b"\x32\x05\x00\x01a\x00\x00", "publish"),  # packet id 0
        (connect_bytes(0x03, b"\x00\x00"), "connect.flags"),
        (connect_bytes(0x42, b"\x00\x00\x00\x00"), "connect.flags"),
        (connect_bytes(0x0A, b"\x00\x00"), "connect.will"),
        (connect_bytes(0x1E, b"\x00\x00\x00\x01a\x00\x00"), "connect.will"),
        (connect_bytes(0x02, b"\x00\x00extra"), "connect"),
        (b"\x10\x07\x00\x04HTTP\x04", "connect.protocol"),
    ],
)
def test_each_breach_is_named(hostile: bytes, place: str) -> None:
    with pytest.raises(PacketError) as caught:
        list(Decoder(LIMIT).feed(hostile))

    assert caught.value.path == place


def test_an_oversize_packet_is_refused_by_its_header_alone() -> None:
    with pytest.raises(PacketTooLargeError):
        list(Decoder(1024).feed(b"\x30\xff\xff\x7f"))


def test_packets_before_the_bad_one_are_served() -> None:
    packets = Decoder(LIMIT).feed(encode(Pingreq()) + b"\x00\x00")

    assert next(packets) == Pingreq()
    with pytest.raises(PacketError):
        next(packets)


@pytest.mark.parametrize(("name", "level"), [(b"\x00\x04MQTT", 5), (b"\x00\x06MQIsdp", 3)])
def test_other_versions_are_told_apart_without_reading_on(name: bytes, level: int) -> None:
    body = name + bytes([level]) + b"\x02\x00\x3c\x05whatever"

    [packet] = Decoder(LIMIT).feed(bytes([0x10, len(body)]) + body)

    assert packet == ForeignConnect(level=level)


def test_a_string_too_long_is_not_written() -> None:
    with pytest.raises(PacketError):
        encode(Publish(topic="x" * 65_536, payload=b""))
