"""Whatever two clients send, nothing is raised and nothing of them stays behind."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from fleet.broker.codec import encode
from fleet.broker.connection import Connection
from fleet.broker.limits import Limits
from fleet.broker.packets import (
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Puback,
    Publish,
    Subscribe,
    Unsubscribe,
    Will,
)
from fleet.broker.server import Server

LIMITS = Limits(max_inflight=2, max_queued_messages=3, max_retained_messages=2, max_subscriptions=3)


class MemoryTransport(asyncio.Transport):
    """A transport whose other end may read slowly, driven by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_open = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Keep none: the test says when writing pauses."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        """Nothing comes unasked."""

    def resume_reading(self) -> None:
        """Nothing comes unasked."""

    def close(self) -> None:
        self.is_open = False

    def abort(self) -> None:
        self.is_open = False


TOPIC = st.sampled_from(["a", "a/b", "$SYS/x", "b"])
FILTER = st.sampled_from(["a", "a/#", "+/b", "#", "$SYS/#"])
PACKETS: st.SearchStrategy[Packet] = st.one_of(
    st.builds(
        Connect,
        client_id=st.sampled_from(["", "c1", "c2"]),
        clean_session=st.booleans(),
        will=st.none() | st.builds(Will, topic=TOPIC, payload=st.just(b"w"), retain=st.booleans()),
    ),
    st.builds(
        Publish,
        topic=TOPIC,
        payload=st.sampled_from([b"", b"x"]),
        qos=st.just(1),
        retain=st.booleans(),
        packet_id=st.integers(1, 5),
    ),
    st.builds(Subscribe, st.just(1), st.tuples(st.tuples(FILTER, st.integers(0, 2)))),
    st.builds(Unsubscribe, st.just(1), st.tuples(FILTER)),
    st.builds(Puback, st.integers(1, 5)),
    st.sampled_from([Pingreq(), Disconnect()]),
)
STEP = st.tuples(
    st.integers(0, 1),
    st.one_of(
        PACKETS.map(encode),
        PACKETS.map(encode),
        st.sampled_from(["lose", "pause", "resume"]),
        st.binary(min_size=1, max_size=12),
    ),
)


@given(st.lists(STEP, max_size=40))
def test_any_traffic_of_two_clients_is_survived_and_cleaned_up(
    steps: list[tuple[int, bytes | str]],
) -> None:
    async def scenario() -> None:
        server = Server(allow_anonymous=True, limits=LIMITS)
        open_now = [connected(server), connected(server)]
        for index, step in steps:
            connection, transport = open_now[index]
            if not transport.is_open or step == "lose":
                connection.connection_lost(None)
                open_now[index] = connected(server)
            elif step == "pause":
                connection.pause_writing()
            elif step == "resume":
                connection.resume_writing()
            elif isinstance(step, bytes):
                connection.data_received(step)
            await asyncio.sleep(0)  # lets answers be flushed
        for connection, _ in open_now:
            connection.connection_lost(None)

        router = server.hub.router
        assert server.hub.connections == set()
        assert all(session.link is None and not session.is_clean for session in router.sessions())
        router.expire(server.hub.clock.monotonic() + LIMITS.offline_expiry_s + 1)
        assert list(router.sessions()) == []
        assert router._filters.is_empty()
        assert router._waiting.used_bytes == 0
        assert len(router.retained) <= LIMITS.max_retained_messages

    asyncio.run(scenario())


def connected(server: Server) -> tuple[Connection, MemoryTransport]:
    transport = MemoryTransport()
    connection = Connection(server.hub)
    connection.connection_made(transport)
    return connection, transport


def test_an_open_broker_lets_anonymous_clients_do_all_but_forge_figures() -> None:
    async def scenario() -> None:
        server = Server(allow_anonymous=True)
        connection, transport = connected(server)
        for packet in (
            Connect(client_id="c"),
            Subscribe(1, (("#", 0), ("$SYS/#", 0))),
            Publish(topic="$SYS/broker/version", payload=b"forged"),
            Publish(topic="x", payload=b"true"),
        ):
            connection.data_received(encode(packet))
        await asyncio.sleep(0)

        assert b"true" in transport.written
        assert b"forged" not in transport.written

    asyncio.run(scenario())
