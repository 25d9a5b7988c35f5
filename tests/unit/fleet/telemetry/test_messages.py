"""Hostile and damaged messages become refusals with a cause; nothing is raised."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeops import codec
from edgeops.contracts.telemetry import Frame
from fleet.telemetry.messages import Cause, FrameKey, Incoming, Raw, Refused, read

FRAME = Frame(
    device="d1",
    boot="b1",
    stream="vib",
    seq_from=3,
    seq_to=4,
    t0=5.0,
    columns={"t": (5.0, 6.0), "span_s": (1.0, 1.0)},
)
TOPIC = "eo/1/default/d1/telemetry/vib"


def frame(**changes: object) -> bytes:
    document = json.loads(codec.canonical(FRAME))
    return json.dumps({**document, **changes}).encode()


def refused(payload: bytes, topic: str = TOPIC) -> Refused:
    found = read(Raw(topic, payload), tenant="default")
    assert isinstance(found, Refused)
    return found


def test_a_good_frame_is_read() -> None:
    found = read(Raw(TOPIC, frame()), tenant="default")

    assert isinstance(found, Incoming)
    assert found.document == FRAME


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (b"", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 40_000, ""),
        (b"null", "object"),
        (frame(seq_to=2**60), "windows"),
        (frame(seq_from=2**60, seq_to=2**60 + 1), "above"),
        (frame(base=9), "base"),
        (frame(t0="soon"), "float"),
        (frame().replace(b'"t0": 5.0', b'"t0": 1e999'), "t0"),
        (frame(columns={"t": [1.0, 2.0]}), "span_s"),
        (frame(columns={"t": [1.0, None], "span_s": [1.0, 1.0]}), "time"),
        (frame(columns={"t": [1.0, 2.0], "span_s": [1.0]}), "values"),
        (frame(model="x" * 100), "digest"),
        (frame(labels={"a": [2**70, 1]}), ""),
        (frame(stream="other"), "topic"),
        (frame(device="d1\u0000"), ""),
    ],
)
def test_what_no_frame_may_hold_is_malformed(payload: bytes, word: str) -> None:
    found = refused(payload)

    assert found.cause is Cause.MALFORMED
    assert word in found.detail


def test_a_frame_that_speaks_for_another_device_is_refused_without_a_key() -> None:
    found = refused(frame(device="d2"))

    assert found.cause is Cause.WRONG_DEVICE
    assert found.device == "d1"
    assert found.key is None


def test_a_bad_frame_that_can_be_named_keeps_its_key() -> None:
    found = refused(frame(columns={"t": [1.0, 2.0]}))

    assert found.key == FrameKey(device="d1", boot="b1", stream="vib", seq_from=3, seq_to=4)


def test_a_bad_frame_of_another_device_keeps_no_key() -> None:
    assert refused(frame(device="d2", columns={})).key is None


@pytest.mark.parametrize(
    "topic",
    [
        "eo/1/other/d1/alert",
        "eo/1/default/d1/bell",
        "eo/1/default/d1/telemetry",
        "eo/2/default/d1/alert",
        "$SYS/broker",
        "eo/1/default/d1/alert/x",
        "",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    assert refused(b"{}", topic).cause is Cause.TOPIC


def test_too_large_is_refused_before_it_is_read() -> None:
    found = refused(frame(model=" " * 70_000))

    assert found.cause is Cause.TOO_LARGE
    assert found.key is not None


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_no_bytes_raise(payload: bytes) -> None:
    for kind in ("conn", "reported", "telemetry/vib", "alert"):
        read(Raw(f"eo/1/default/d1/{kind}", payload), tenant="default")
