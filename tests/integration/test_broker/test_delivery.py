"""Both brokers deliver, keep and guard messages alike, as seen by paho."""

from collections.abc import Iterator

import pytest

from tests.integration.test_broker.clients import DEADLINE_S, Client, RunningBroker

OWN = "eo/1/acme"


@pytest.fixture
def fleet(broker: RunningBroker) -> Iterator[Client]:
    with Client(broker, "service", username="fleet") as client:
        yield client


def test_qos1_messages_arrive_in_order(broker: RunningBroker, fleet: Client) -> None:
    assert fleet.subscribe(f"{OWN}/+/telemetry/#") == [1]

    with Client(broker, "d1") as device:
        for number in range(200):
            device.publish(f"{OWN}/d1/telemetry/main", b"%d" % number)

    assert [fleet.next()[1] for _ in range(200)] == [b"%d" % number for number in range(200)]


def test_a_burst_larger_than_the_window_arrives_whole(broker: RunningBroker, fleet: Client) -> None:
    fleet.subscribe(f"{OWN}/+/telemetry/#")
    with Client(broker, "d1") as device:
        tokens = [
            device.paho.publish(f"{OWN}/d1/telemetry/burst", b"%d" % number, qos=1)
            for number in range(3_000)
        ]
        tokens[-1].wait_for_publish(DEADLINE_S)

        assert [int(fleet.next()[1]) for _ in range(3_000)] == list(range(3_000))


def test_retained_messages_greet_later_subscribers(broker: RunningBroker, fleet: Client) -> None:
    with Client(broker, "d1") as device:
        device.publish(f"{OWN}/d1/conn", b"online", retain=True)
    fleet.subscribe(f"{OWN}/+/conn")

    message = fleet.messages.get(timeout=DEADLINE_S)

    assert (message.payload, message.retain) == (b"online", True)
    fleet.publish(f"{OWN}/d1/conn", b"", retain=True)
    assert fleet.next() == (f"{OWN}/d1/conn", b"")
    fleet.subscribe(f"{OWN}/d1/#")
    assert fleet.heard_only(fleet, f"{OWN}/d1/bell") == []


def test_the_last_will_speaks_for_who_vanished_and_not_for_who_left(
    broker: RunningBroker, fleet: Client
) -> None:
    fleet.subscribe(f"{OWN}/d2/conn")

    Client(broker, "d2", will=(f"{OWN}/d2/conn", b"lost")).vanish()
    first = fleet.next()
    with Client(broker, "d2", will=(f"{OWN}/d2/conn", b"lost again")):
        pass

    assert first == (f"{OWN}/d2/conn", b"lost")
    assert fleet.heard_only(fleet, f"{OWN}/d2/conn") == []
    fleet.publish(f"{OWN}/d2/conn", b"", retain=True)


def test_a_second_connection_takes_the_client_id_over(broker: RunningBroker) -> None:
    first = Client(broker, "d1")
    with Client(broker, "d1") as second:
        assert first.gone.wait(DEADLINE_S)
        assert second.paho.is_connected()
    first.leave()


def test_a_persistent_session_collects_while_its_client_is_away(
    broker: RunningBroker, fleet: Client
) -> None:
    with Client(broker, "d3", clean=False) as device:
        device.subscribe(f"{OWN}/d3/bell")
    for number in range(50):
        fleet.publish(f"{OWN}/d3/bell", b"%d" % number)

    with Client(broker, "d3", clean=False) as device:
        assert device.session_present
        assert [device.next()[1] for _ in range(50)] == [b"%d" % n for n in range(50)]

    with Client(broker, "d3", clean=True) as device:
        assert not device.session_present


def test_unacknowledged_messages_are_sent_again_as_repeats(
    broker: RunningBroker, fleet: Client
) -> None:
    device = Client(broker, "d3", clean=False, manual_ack=True)
    device.subscribe(f"{OWN}/d3/request/#")
    fleet.publish(f"{OWN}/d3/request/1", b"logs")
    assert not device.messages.get(timeout=DEADLINE_S).dup
    device.vanish()

    with Client(broker, "d3", clean=False) as device:
        repeat = device.messages.get(timeout=DEADLINE_S)

    assert (repeat.payload, repeat.dup) == (b"logs", True)
    Client(broker, "d3", clean=True).leave()


def test_a_device_cannot_speak_for_another(broker: RunningBroker, fleet: Client) -> None:
    fleet.subscribe(f"{OWN}/+/alert", f"{OWN}/+/bell")

    with Client(broker, "d1") as device:
        device.publish(f"{OWN}/d2/alert", b"forged")
        device.publish(f"{OWN}/d1/bell", b"not for devices to ring")
        device.publish("$SYS/broker/version", b"forged")
        device.publish(f"{OWN}/d1/alert", b"true")

        assert fleet.next() == (f"{OWN}/d1/alert", b"true")


@pytest.mark.parametrize(
    "spied", [f"{OWN}/d2/bell", f"{OWN}/+/bell", f"{OWN}/#", "#", "+/+/+/d2/#"]
)
def test_a_device_cannot_listen_to_another(
    broker: RunningBroker, fleet: Client, spied: str
) -> None:
    fleet.publish(f"{OWN}/d2/blob/x/0", b"retained for d2", retain=True)
    with Client(broker, "d1") as device:
        device.subscribe(spied)
        device.subscribe(f"{OWN}/d1/ack")

        fleet.publish(f"{OWN}/d2/bell", b"for d2")

        assert device.heard_only(fleet, f"{OWN}/d1/ack") == []


@pytest.mark.parametrize(
    ("username", "password"), [("d1", "wrong"), ("d1", ""), ("stranger", "secret")]
)
def test_a_wrong_password_is_refused(broker: RunningBroker, username: str, password: str) -> None:
    client = Client(broker, "any", username=username, password=password)
    client.leave()

    assert client.code.is_failure


def test_an_oversize_packet_ends_its_connection_alone(broker: RunningBroker, fleet: Client) -> None:
    fleet.subscribe(f"{OWN}/+/telemetry/#")
    with Client(broker, "d1") as large:
        large.paho.publish(f"{OWN}/d1/telemetry/main", bytes(broker.limits.max_packet_bytes + 1))
        assert large.gone.wait(DEADLINE_S)

    with Client(broker, "d1") as device:
        device.publish(f"{OWN}/d1/telemetry/main", bytes(900_000))
    assert len(fleet.next()[1]) == 900_000


def test_the_service_reads_the_brokers_figures(broker: RunningBroker, fleet: Client) -> None:
    names = ["version", "clients/connected", "messages/received", "publish/messages/dropped"]
    assert fleet.subscribe(*(f"$SYS/broker/{name}" for name in names)) == [1] * len(names)

    heard = {fleet.next()[0].removeprefix("$SYS/broker/") for _ in names}

    assert heard == set(names)


def test_a_client_without_keepalive_is_served(broker: RunningBroker) -> None:
    with Client(broker, "d1", keepalive_s=0) as device:
        device.publish(f"{OWN}/d1/alert", b"no keepalive asked for")


def test_no_device_pushes_another_off_by_taking_its_client_id(broker: RunningBroker) -> None:
    with Client(broker, "d2") as victim:
        for _ in range(3):
            thief = Client(broker, "d2", username="d1")
            thief.leave()
        assert not victim.gone.wait(0.3)
        victim.subscribe(f"{OWN}/d2/bell")
