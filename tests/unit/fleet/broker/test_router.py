"""Queues, windows and sessions: bounded, in order, and nothing for the wrong client."""

import pytest

from fleet.broker.acl import UNRESTRICTED, Permissions, parse_acl
from fleet.broker.limits import Close, Drop, Limits, Tally
from fleet.broker.packets import SUBSCRIPTION_REFUSED, Publish
from fleet.broker.router import Router
from fleet.broker.session import Session


class RecordingLink:
    """A connection whose speed the test decides."""

    def __init__(self) -> None:
        self.sent: list[Publish] = []
        self.closed: list[Close] = []
        self.congested = False

    def send(self, packet: Publish) -> None:
        self.sent.append(packet)

    def is_congested(self) -> bool:
        return self.congested

    def close(self, cause: Close) -> None:
        self.closed.append(cause)

    def payloads(self) -> list[bytes]:
        return [packet.payload for packet in self.sent]


class Bench:
    """A router with small bounds."""

    def __init__(self, **bounds: int) -> None:
        self.tally = Tally()
        self.router = Router(Limits(**bounds), self.tally)

    def connect(
        self,
        client_id: str = "c",
        *,
        clean: bool = False,
        permissions: Permissions = UNRESTRICTED,
        username: str = "u",
    ) -> tuple[Session, RecordingLink, bool]:
        link = RecordingLink()
        attached = self.router.attach(
            client_id=client_id,
            username=username,
            is_clean=clean,
            permissions=permissions,
            link=link,
        )
        assert attached is not None
        session, present = attached
        session.resume()
        return session, link, present

    def publish(
        self, *payloads: bytes, topic: str = "t", qos: int = 1, retain: bool = False
    ) -> None:
        for payload in payloads:
            self.router.publish(topic=topic, payload=payload, qos=qos, retain=retain)


@pytest.fixture
def bench() -> Bench:
    return Bench(max_inflight=2, max_queued_messages=3)


def test_the_window_holds_back_and_acknowledgements_open_it(bench: Bench) -> None:
    session, link, _ = bench.connect()
    bench.router.subscribe(session, "t", 1)

    bench.publish(b"1", b"2", b"3")
    before = link.payloads()
    session.acknowledge(link.sent[0].packet_id)

    assert before == [b"1", b"2"]
    assert link.payloads() == [b"1", b"2", b"3"]


def test_unacknowledged_messages_come_again_marked_as_repeats(bench: Bench) -> None:
    session, first, _ = bench.connect()
    bench.router.subscribe(session, "t", 1)
    bench.publish(b"1", b"2", b"3")
    session.acknowledge(first.sent[0].packet_id)
    bench.router.detach(session, 0.0)
    bench.publish(b"4")

    session, second, present = bench.connect()

    assert present
    assert [(p.payload, p.dup) for p in second.sent] == [(b"2", True), (b"3", True)]
    assert second.sent[0].packet_id == first.sent[1].packet_id
    session.acknowledge(second.sent[0].packet_id)
    assert (second.sent[-1].payload, second.sent[-1].dup) == (b"4", False)


def test_the_offline_queue_is_bounded_and_counts_what_it_loses(bench: Bench) -> None:
    session, _, _ = bench.connect()
    bench.router.subscribe(session, "t", 1)
    bench.router.detach(session, 0.0)

    bench.publish(b"1", b"2", b"3", b"4", b"5")
    bench.publish(b"x", qos=0)

    assert session.queued == 3
    assert bench.tally.dropped[Drop.OFFLINE_QUEUE_FULL] == 2
    assert bench.tally.dropped[Drop.OFFLINE_QOS0] == 1


def test_a_slow_consumer_is_bounded_too_and_catches_up_in_order(bench: Bench) -> None:
    session, link, _ = bench.connect()
    bench.router.subscribe(session, "t", 0)
    link.congested = True

    bench.publish(b"1", b"2", b"3", b"4", qos=0)
    link.congested = False
    session.pump()

    assert link.payloads() == [b"1", b"2", b"3"]
    assert bench.tally.dropped[Drop.SLOW_CONSUMER] == 1
    assert session.queued_bytes == 0


def test_all_queues_together_are_bounded() -> None:
    bench = Bench(max_total_queued_bytes=5_000)
    for name in ("a", "b", "c"):
        session, _, _ = bench.connect(name)
        bench.router.subscribe(session, "t", 1)
        bench.router.detach(session, 0.0)

    bench.publish(bytes(1_500))
    bench.publish(bytes(1_500))

    assert bench.tally.dropped[Drop.BROKER_QUEUES_FULL] == 4
    held = [session for session in bench.router.sessions() if session.queued]
    bench.router.discard(held[0])
    bench.publish(bytes(1_000))
    assert bench.tally.dropped[Drop.BROKER_QUEUES_FULL] == 4, "freed places are used again"


def test_a_clean_session_leaves_nothing_behind(bench: Bench) -> None:
    session, _, _ = bench.connect(clean=True)
    bench.router.subscribe(session, "t", 1)

    bench.router.detach(session, 0.0)

    assert bench.router.session("c") is None
    _, _, present = bench.connect()
    assert not present


def test_an_old_session_of_another_user_is_not_inherited(bench: Bench) -> None:
    session, _, _ = bench.connect(username="owner")
    bench.router.subscribe(session, "t", 1)
    bench.router.detach(session, 0.0)
    bench.publish(b"secret")

    _, link, present = bench.connect(username="thief")

    assert not present
    assert link.sent == []


def test_a_message_reaches_overlapping_filters_once_with_the_best_qos(bench: Bench) -> None:
    session, link, _ = bench.connect()
    bench.router.subscribe(session, "t/#", 0)
    bench.router.subscribe(session, "t/+", 1)

    bench.publish(b"1", topic="t/x")

    assert [(packet.payload, packet.qos) for packet in link.sent] == [(b"1", 1)]


def test_retained_messages_greet_new_subscribers_and_an_empty_one_clears(bench: Bench) -> None:
    session, link, _ = bench.connect()
    bench.publish(b"old", b"new", topic="r/1", retain=True)
    bench.publish(b"gone", b"", topic="r/2", retain=True)

    code = bench.router.subscribe(session, "r/+", 2)
    bench.router.send_retained(session, "r/+")

    assert code == 1, "QoS 2 is granted as 1"
    assert [(packet.payload, packet.retain) for packet in link.sent] == [(b"new", True)]


def test_retained_messages_are_bounded_and_never_stale() -> None:
    bench = Bench(max_retained_messages=2, max_retained_bytes=1_000)
    bench.publish(b"1", topic="r/1", retain=True)
    bench.publish(b"2", topic="r/2", retain=True)
    bench.publish(b"3", topic="r/3", retain=True)

    bench.publish(bytes(900), topic="r/1", retain=True)

    assert bench.tally.dropped[Drop.RETAINED_FULL] == 2
    assert [kept.topic for kept in bench.router.retained.under("#")] == ["r/2"]


def test_a_partly_readable_filter_shows_its_readable_part_only(bench: Bench) -> None:
    allowed = parse_acl("topic read mine/#", "acl").permissions(None, "c")
    session, link, _ = bench.connect(permissions=allowed)
    bench.publish(b"hidden", topic="theirs/r", retain=True)
    bench.publish(b"kept", topic="mine/r", retain=True)

    refused = bench.router.subscribe(session, "theirs/#", 1)
    bench.router.subscribe(session, "#", 1)
    bench.router.send_retained(session, "#")
    bench.publish(b"hidden", topic="theirs/x")
    bench.publish(b"seen", topic="mine/x")

    assert refused == SUBSCRIPTION_REFUSED
    assert link.payloads() == [b"kept", b"seen"]
    assert bench.tally.dropped[Drop.DENIED_READ] == 1


def test_new_permissions_reach_what_is_subscribed_and_waits(bench: Bench) -> None:
    session, _, _ = bench.connect()
    bench.router.subscribe(session, "#", 1)
    bench.router.detach(session, 0.0)
    bench.publish(b"1", topic="mine/x")
    bench.publish(b"2", topic="theirs/x")

    fewer = parse_acl("topic read mine/#", "acl").permissions(None, "c")
    bench.router.repermit(session, fewer)
    bench.publish(b"3", topic="theirs/x")

    _, link, _ = bench.connect(permissions=fewer)
    assert link.payloads() == [b"1"]


def test_shared_subscriptions_and_too_many_filters_are_refused() -> None:
    bench = Bench(max_subscriptions=1)
    session, _, _ = bench.connect()

    assert bench.router.subscribe(session, "$share/g/t", 1) == SUBSCRIPTION_REFUSED
    assert bench.router.subscribe(session, "a", 1) == 1
    assert bench.router.subscribe(session, "b", 1) == SUBSCRIPTION_REFUSED
    assert bench.router.subscribe(session, "a", 0) == 0, "the same filter again replaces"


def test_sessions_of_clients_long_gone_expire(bench: Bench) -> None:
    session, _, _ = bench.connect()
    bench.router.subscribe(session, "t", 1)
    bench.router.detach(session, 10.0)
    bench.publish(b"1")

    bench.router.expire(10.0 + Limits().offline_expiry_s)
    assert bench.router.session("c") is session
    bench.router.expire(11.0 + Limits().offline_expiry_s)

    assert bench.router.session("c") is None
    assert bench.tally.dropped[Drop.SESSION_DISCARDED] == 1


def test_packet_ids_are_never_used_twice_at_once() -> None:
    bench = Bench(max_inflight=3)
    session, link, _ = bench.connect()
    bench.router.subscribe(session, "t", 1)
    bench.publish(b"stays")

    for _ in range(66_000):  # more than there are ids
        bench.publish(b"goes")
        session.acknowledge(link.sent[-1].packet_id)

    stays = link.sent[0].packet_id
    assert all(packet.packet_id != stays for packet in link.sent[1:])
    assert all(1 <= packet.packet_id <= 65_535 for packet in link.sent)


def test_one_user_cannot_take_all_sessions() -> None:
    bench = Bench(max_sessions=10, max_sessions_per_user=2)
    link = RecordingLink()

    def attach(client_id: str, username: str | None) -> Session | None:
        attached = bench.router.attach(
            client_id=client_id,
            username=username,
            is_clean=False,
            permissions=UNRESTRICTED,
            link=link,
        )
        return attached[0] if attached is not None else None

    first = attach("a", "thief")
    assert first is not None
    assert attach("b", "thief") is not None
    assert attach("c", "thief") is None
    assert attach("b", "thief") is not None  # its own again
    assert attach("d", "other") is not None
    assert attach("e", None) is not None

    bench.router.discard(first)
    bench.router.discard(first)
    assert attach("c", "thief") is not None
    assert attach("f", "thief") is None
