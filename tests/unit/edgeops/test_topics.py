"""Topics are built and parsed by one class, and hostile ones do not parse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeops.errors import ContractError
from edgeops.topics import WITH_DETAIL, Kind, Topic, filter_for

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(tenant=IDS, device=IDS, kind=st.sampled_from(Kind), detail=IDS)
def test_building_and_parsing_are_inverse(
    tenant: str, device: str, kind: Kind, detail: str
) -> None:
    topic = Topic(
        tenant=tenant, device=device, kind=kind, detail=detail if kind in WITH_DETAIL else ""
    )
    assert Topic.parse(str(topic)) == topic


@given(st.text(max_size=200))
def test_any_text_parses_to_itself_or_is_refused(text: str) -> None:
    try:
        topic = Topic.parse(text)
    except ContractError:
        return
    assert str(topic) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eo/1",
        "eo/1/t/d",
        "eo/1/t/d/",
        "eo/2/t/d/conn",
        "eo/1/t/d/conn/x",
        "eo/1/t/d/telemetry",
        "eo/1/t/+/conn",
        "eo/1/t/d/telemetry/#",
        "eo/1/t/a.b/conn",
        "eo/1/t/d/mystery",
        "$SYS/broker/uptime",
        "eo/1/t/" + "d" * 65 + "/conn",
    ],
)
def test_foreign_topics_are_refused(text: str) -> None:
    with pytest.raises(ContractError):
        Topic.parse(text)


def test_filters() -> None:
    assert filter_for(tenant="t", kind=Kind.TELEMETRY) == "eo/1/t/+/telemetry/+"
    assert filter_for(tenant="t", kind=Kind.ACK, device="d") == "eo/1/t/d/ack"
    with pytest.raises(ContractError):
        filter_for(tenant="#", kind=Kind.ACK)
