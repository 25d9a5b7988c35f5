"""Packets between supervisor and pipe: batches, limits, the end of the other side."""

import pytest

from agent.emitter import MAX_BATCH, Emitter
from agent.messages import (
    MAX_PACKET_BYTES,
    Item,
    Load,
    Loaded,
    Results,
    Setup,
    decode_for_pipe,
    decode_from_pipe,
    encode,
)
from agent.packets import PacketSocket, PeerGoneError
from edgeops.contracts.result import Detection, Result
from edgeops.errors import ContractError


class HandClock:
    def __init__(self) -> None:
        self.now = 10.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def _item(t: float = 0.0, objects: int = 0, label: str = "person") -> Item:
    found = tuple(
        Detection(label=label, score=0.123456789, box=(0.1, 0.2, 0.3, 0.4)) for _ in range(objects)
    )
    return Item(t, 1.5, Result(task="detection", score=0.5, objects=found))


def _items(packets: list[bytes]) -> list[Item]:
    found: list[Item] = []
    for packet in packets:
        assert len(packet) <= MAX_PACKET_BYTES
        message = decode_from_pipe(packet)
        assert isinstance(message, Results)
        found.extend(message.items)
    return found


def test_rare_results_go_at_once_and_many_go_together() -> None:
    clock, packets = HandClock(), list[bytes]()
    emitter = Emitter(packets.append, clock)
    for number in range(3):
        emitter.add(_item(number))
        clock.now += 1.0
    assert len(packets) == 3

    for number in range(3, 3 + 2 * MAX_BATCH):
        emitter.add(_item(number))
        clock.now += 1e-5
    emitter.flush()

    assert len(packets) <= 3 + 4
    assert [item.t for item in _items(packets)] == list(range(3 + 2 * MAX_BATCH))


def test_large_results_are_split_and_huge_ones_shortened() -> None:
    clock, packets = HandClock(), list[bytes]()
    emitter = Emitter(packets.append, clock)
    for number in range(10):
        emitter.add(_item(number, objects=200))
    emitter.add(_item(10, objects=1000))
    emitter.add(_item(11, objects=1000, label="x" * 900))
    emitter.flush()

    items = _items(packets)
    counts = [len(item.result.objects) if item.result else -1 for item in items]
    assert counts == [200] * 10 + [100, 0]
    assert all(item.result and item.result.score == 0.5 for item in items)


def test_messages_come_out_as_they_went_in() -> None:
    load = Load(number=3, folder="/b", variant="onnx-int8")
    setup = Setup(pipeline="p", source={"type": "video", "path": "x", "loop": False})
    loaded = Loaded(number=3, digest="sha256:1", task="detection", labels=("a",))

    assert decode_for_pipe(encode(load)) == load
    assert decode_for_pipe(encode(setup)) == setup
    assert decode_from_pipe(encode(loaded)) == loaded


@pytest.mark.parametrize("packet", [b"", b"{", b'{"type":"fly"}', b'{"type":"load"}', b"\xff"])
def test_what_is_no_message_is_refused(packet: bytes) -> None:
    with pytest.raises(ContractError):
        decode_for_pipe(packet)
    with pytest.raises(ContractError):
        decode_from_pipe(packet)


def test_a_message_that_is_too_long_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ContractError, match="at most 65536"):
        encode(Setup(pipeline="p" * MAX_PACKET_BYTES, source={}))


def test_the_end_of_the_other_side_is_noticed_after_all_was_read() -> None:
    ours, theirs = PacketSocket.pair()
    other = PacketSocket(theirs)
    assert other.receive(0.0) is None
    ours.send(b"one")
    ours.send(b"two")
    ours.close()

    assert [other.receive(1.0), other.receive(1.0)] == [b"one", b"two"]
    with pytest.raises(PeerGoneError):
        other.receive(1.0)
    with pytest.raises(PeerGoneError):
        other.send(b"three")
    other.close()
