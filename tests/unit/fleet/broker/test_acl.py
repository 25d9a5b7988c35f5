"""Access files mean what Mosquitto's manual says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeops.errors import ContractError
from fleet.broker.accounts import acl_text
from fleet.broker.acl import Grant, parse_acl

FILE = """
# anonymous clients
topic read public/#

user fleet
topic readwrite eo/1/acme/#
topic deny eo/1/acme/secret/#
topic $SYS/broker/uptime

pattern write eo/1/acme/%u/telemetry/#
pattern read eo/1/acme/%u/bell
pattern read eo/1/acme/by-client/%c
"""


def test_own_lines_come_first_and_deny_wins() -> None:
    fleet = parse_acl(FILE, "acl").permissions("fleet", "fleet-1")

    assert fleet.may_read("eo/1/acme/d1/conn")
    assert fleet.may_write("eo/1/acme/d1/bell")
    assert not fleet.may_read("eo/1/acme/secret/x")
    assert not fleet.may_write("eo/2/acme/d1/bell")
    assert fleet.may_write("$SYS/broker/uptime")  # no access word means both


def test_patterns_are_filled_with_the_clients_own_names() -> None:
    device = parse_acl(FILE, "acl").permissions("d1", "c1")

    assert device.may_write("eo/1/acme/d1/telemetry/main")
    assert not device.may_read("eo/1/acme/d1/telemetry/main")
    assert not device.may_write("eo/1/acme/d2/telemetry/main")
    assert device.may_read("eo/1/acme/by-client/c1")
    assert not device.may_read("public/x")


@pytest.mark.parametrize("name", ["+", "#", "a/b", "+/x"])
def test_a_name_with_wildcards_widens_nothing(name: str) -> None:
    client = parse_acl(FILE, "acl").permissions(name, "c1")

    assert not client.may_read("eo/1/acme/d1/bell")
    assert client.grant("eo/1/acme/+/bell") is Grant.REFUSED


def test_a_name_that_looks_like_a_mark_stays_a_name() -> None:
    client = parse_acl("pattern read x/%u", "acl").permissions("%c", "victim")

    assert client.may_read("x/%c")
    assert not client.may_read("x/victim")


def test_anonymous_clients_have_the_lines_before_the_first_user() -> None:
    anonymous = parse_acl(FILE, "acl").permissions(None, "c1")

    assert anonymous.may_read("public/x")
    assert not anonymous.may_read("eo/1/acme//bell")


@pytest.mark.parametrize(
    ("user", "topic_filter", "grant"),
    [
        ("d1", "eo/1/acme/d1/bell", Grant.FULL),
        ("d1", "eo/1/acme/d2/bell", Grant.REFUSED),
        ("d1", "eo/1/acme/d2/#", Grant.REFUSED),
        ("d1", "#", Grant.PARTIAL),
        ("d1", "eo/1/acme/+/bell", Grant.PARTIAL),
        ("d1", "eo/1/acme/d1/telemetry/#", Grant.REFUSED),
        ("fleet", "eo/1/acme/d1/#", Grant.FULL),
        ("fleet", "eo/1/acme/#", Grant.PARTIAL),
        ("fleet", "eo/1/acme/secret/+", Grant.REFUSED),
        ("nobody", "$SYS/#", Grant.REFUSED),
    ],
)
def test_subscriptions_are_granted_in_full_in_part_or_not(
    user: str, topic_filter: str, grant: Grant
) -> None:
    assert parse_acl(FILE, "acl").permissions(user, "c1").grant(topic_filter) is grant


LEVEL = st.sampled_from(["a", "b", "+"])
ACCESS = st.sampled_from(["read", "write", "readwrite", "deny"])
FILTER = st.tuples(st.lists(LEVEL, min_size=1, max_size=3), st.booleans()).map(
    lambda parts: "/".join(parts[0] + ["#"] * parts[1])
)
LINE = st.tuples(st.sampled_from(["topic", "pattern"]), ACCESS, FILTER).map(" ".join)


@given(st.lists(LINE, max_size=6), FILTER, st.lists(st.sampled_from("ab"), min_size=1, max_size=3))
def test_grants_agree_with_the_decision_on_each_topic(
    lines: list[str], topic_filter: str, levels: list[str]
) -> None:
    client = parse_acl("user u\n" + "\n".join(lines), "acl").permissions("u", "c")
    whole = parse_acl(f"topic read {topic_filter}", "acl").permissions(None, "")
    topic = "/".join(levels)

    grant = client.grant(topic_filter)

    if whole.may_read(topic):
        if grant is Grant.FULL:
            assert client.may_read(topic)
        if grant is Grant.REFUSED:
            assert not client.may_read(topic)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("topic", "acl:1"),
        ("\nsubject read a", "acl:2"),
        ("topic maybe a", "acl:1"),
        ("topic read a#", "acl:1"),
        ("user", "acl:1"),
    ],
)
def test_damaged_lines_are_named(text: str, place: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_acl(text, "acl")

    assert caught.value.path == place


def test_the_fleets_own_file_gives_each_device_its_topics_only() -> None:
    access = parse_acl(acl_text("acme", "fleet"), "acl")
    device = access.permissions("d1", "d1")
    fleet = access.permissions("fleet", "any")

    for written in ("conn", "reported", "telemetry/main", "alert", "response/7", "blob/x/get"):
        assert device.may_write(f"eo/1/acme/d1/{written}")
        assert not device.may_write(f"eo/1/acme/d2/{written}")
        assert not device.may_write(f"eo/1/other/d1/{written}")
        assert fleet.grant(f"eo/1/acme/+/{written}") is Grant.FULL
    for read in ("bell", "ack", "request/7", "blob/x/0"):
        assert device.grant(f"eo/1/acme/d1/{read}") is Grant.FULL
        assert device.grant(f"eo/1/acme/d2/{read}") is Grant.REFUSED
        assert fleet.may_write(f"eo/1/acme/d1/{read}")
    assert not device.may_write("eo/1/acme/d1/bell")
    assert not device.may_write("eo/1/acme/d1/ack")
    assert device.grant("$SYS/#") is Grant.REFUSED
