"""The outbox keeps what the device has to say until the server has stored it."""

import math
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.outbox.limits import OutboxLimits
from agent.outbox.outbox import Outbox
from agent.outbox.packing import Span
from agent.supervision import Supervision
from edgeops import codec
from edgeops.clock import SystemClock
from edgeops.contracts.telemetry import MAX_FRAME_BYTES, Ack, Frame, Window
from edgeops.quantities import Duration
from tests.unit.agent.outbox_words import FAST, alert, opened, small, window


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = opened(tmp_path)
    yield made
    made.close()


def test_windows_are_numbered_from_1_per_stream_and_come_back_as_frames(outbox: Outbox) -> None:
    for number in range(1, 6):
        outbox.put_window("belt", window(number))
    outbox.put_window("yard", window(1))
    assert outbox.flush(5.0)

    spans = {span.stream: span for span in outbox.spans()}
    assert (spans["belt"].low, spans["belt"].high, spans["yard"].high) == (1, 5, 1)
    packed = outbox.frame(spans["belt"], 2)
    assert packed is not None
    frame = codec.decode(packed.data, Frame, where="frame")
    assert (frame.device, frame.boot, frame.stream) == ("d1", "boot1", "belt")
    assert (frame.seq_from, frame.seq_to, frame.base, frame.shed) == (2, 5, 1, 0)
    assert frame.columns["frames"] == (2.0, 3.0, 4.0, 5.0)
    assert frame.labels["ok"] == (2, 3, 4, 5)
    assert frame.sketches["score"].counts == (14, 4)


def test_only_an_acknowledgement_frees_windows(outbox: Outbox) -> None:
    for number in range(1, 11):
        outbox.put_window("belt", window(number))
    assert outbox.flush(5.0)

    outbox.acknowledge(Ack(boot="boot0", streams={"belt": 9}))  # another boot's
    outbox.acknowledge(Ack(boot="boot1", streams={"yard": 9}))  # another stream's
    assert [span.low for span in outbox.spans()] == [1]
    outbox.acknowledge(Ack(boot="boot1", streams={"belt": 7}))
    assert [span.low for span in outbox.spans()] == [8], "at once, before it is on disk"
    assert outbox.flush(5.0)
    assert outbox.counters().windows_held == 3
    outbox.acknowledge(Ack(boot="boot1", streams={"belt": 999}))
    assert outbox.flush(5.0)
    assert outbox.spans() == ()
    assert outbox.counters().windows_acked == 10


def test_alerts_come_newest_first_and_stay_until_acknowledged(outbox: Outbox) -> None:
    for number in range(5):
        outbox.put_alert(alert(number), None)
    assert outbox.flush(5.0)

    assert [event.event_id for event in outbox.unacked_alerts(3, {"boot1-3"})] == [
        "boot1-4", "boot1-2", "boot1-1",
    ]  # fmt: skip
    outbox.acknowledge(Ack(boot="other", alerts=("boot1-4", "never-heard-of")))
    assert outbox.flush(5.0)
    assert [event.event_id for event in outbox.unacked_alerts(9)] == [
        "boot1-3", "boot1-2", "boot1-1", "boot1-0",
    ]  # fmt: skip
    assert len(outbox.recent_alerts(9)) == 5, "people on the spot still see it"


def test_the_same_alert_twice_is_stored_once(outbox: Outbox) -> None:
    outbox.put_alert(alert(1), None)
    assert outbox.flush(5.0)
    outbox.put_alert(alert(1), None)
    assert outbox.flush(5.0)
    assert len(outbox.recent_alerts(9)) == 1


def test_an_alert_is_not_lost_over_a_figure_that_is_no_number(outbox: Outbox) -> None:
    outbox.put_alert(alert(1, evidence=math.nan), None)
    assert outbox.flush(5.0)
    (found,) = outbox.unacked_alerts(1)
    assert found.evidence == {}


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.put_window("belt", window(1))
    first.put_alert(alert(1), {"rule.defect": b"firing"})
    first.save_state("cursor", b"42")
    first.close()

    second = opened(tmp_path, boot="boot2")
    try:
        assert second.notices == ()
        assert second.load_state("rule.defect") == b"firing"
        assert second.load_state("cursor") == b"42"
        assert [event.event_id for event in second.unacked_alerts(9)] == ["boot1-1"]
        second.put_window("belt", window(1))
        assert second.flush(5.0)
        assert [(span.boot, span.low, span.high) for span in second.spans()] == [
            ("boot1", 1, 1), ("boot2", 1, 1),
        ]  # fmt: skip
    finally:
        second.close()


def test_a_full_quota_sheds_the_oldest_windows_and_no_alert(tmp_path: Path) -> None:
    outbox = opened(tmp_path, limits=small(1_000_000))
    try:
        for number in range(1, 60):
            outbox.put_alert(alert(number), None)
        for number in range(1, 3001):
            outbox.put_window("belt", window(number, padding=20))
            if number % 100 == 0:
                assert outbox.flush(5.0)

        counters = outbox.counters()
        (span,) = outbox.spans()
        assert span.high == 3000
        assert span.low == span.shed + 1 == sum(counters.shed.values()) + 1 > 1
        assert counters.alerts_held == 59
        files = sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix != ".shm")
        assert files <= 1_000_000 + 65_536
        packed = outbox.frame(span, 1)
        assert packed is not None
        assert (packed.frame.seq_from, packed.frame.base) == (span.low, span.low)
        assert packed.frame.shed == span.shed
    finally:
        outbox.close()


def test_alerts_alone_fill_the_quota_then_memory_and_each_loss_is_counted(tmp_path: Path) -> None:
    limits = OutboxLimits(
        max_disk=small(350_000).max_disk, batch=Duration(0.01), min_free=0.0, ram_alerts=50
    )
    outbox = opened(tmp_path, limits=limits)
    try:
        total = 3000
        for number in range(total):
            outbox.put_alert(alert(number), None)
            if number % 40 == 0:
                outbox.flush(0.05)
        outbox.flush(0.5)
        counters = outbox.counters()
        assert counters.write_errors["full"] > 0
        lost = counters.dropped["alert_disk_full"]
        assert counters.alerts_held + counters.alerts_in_memory + lost == total
        newest = outbox.unacked_alerts(1)[0].event_id
        assert newest == f"boot1-{total - 1}", "sent although the disk refuses it"

        stored = [event.event_id for event in outbox.unacked_alerts(total)]
        outbox.acknowledge(Ack(boot="boot1", alerts=tuple(stored)))
        assert outbox.flush(40.0), "recovers once there is room"
        assert outbox.counters().alerts_held == 0
    finally:
        outbox.close()


def test_what_can_never_be_sent_is_refused_and_counted(outbox: Outbox) -> None:
    outbox.put_window("belt", window(1, padding=5000))
    outbox.put_window("belt", Window(t=math.nan, span_s=1.0))
    outbox.put_window("no/topic", window(1))
    outbox.save_state("key", b"x" * 300_000)
    assert outbox.flush(5.0)
    assert outbox.counters().dropped == {
        "window_too_large": 1, "window_malformed": 2, "state_too_large": 1,
    }  # fmt: skip
    assert outbox.spans() == ()


def test_a_flood_between_two_commits_drops_the_oldest_windows(tmp_path: Path) -> None:
    limits = OutboxLimits(batch=Duration(3600.0), ram_windows=10, min_free=0.0)
    outbox = opened(tmp_path, limits=limits)
    try:
        for number in range(1, 26):
            outbox.put_window("belt", window(number))
        assert outbox.counters().dropped == {"window_queue_full": 15}
        assert outbox.flush(5.0)
        packed = outbox.frame(outbox.spans()[0], 1)
        assert packed is not None
        assert packed.frame.columns["frames"][0] == 16.0
        assert (packed.frame.seq_from, packed.frame.seq_to) == (1, 10), "dropped never existed"
    finally:
        outbox.close()


def test_every_frame_fits_into_one_message(outbox: Outbox) -> None:
    for number in range(1, 901):
        outbox.put_window("belt", window(number, model="sha256:" + "a" * 64, padding=60))
    assert outbox.flush(5.0)
    (span,) = outbox.spans()
    first = 1
    while (packed := outbox.frame(span, first)) is not None:
        assert len(packed.data) <= MAX_FRAME_BYTES
        assert packed.frame.seq_from == first
        first = packed.frame.seq_to + 1
    assert first == 901


def test_acknowledged_alerts_are_kept_only_as_history(tmp_path: Path) -> None:
    limits = OutboxLimits(batch=Duration(0.01), min_free=0.0, history=10)
    outbox = opened(tmp_path, limits=limits)
    try:
        for number in range(30):
            outbox.put_alert(alert(number), None)
        assert outbox.flush(5.0)
        outbox.acknowledge(Ack(boot="b", alerts=tuple(f"boot1-{n}" for n in range(25))))
        assert outbox.flush(5.0)
        assert outbox.counters().alerts_held == 5
        assert len(outbox.recent_alerts(100)) == 15
    finally:
        outbox.close()


def test_a_span_that_is_gone_gives_no_frame(outbox: Outbox) -> None:
    gone = Span(stream_id=7, boot="boot1", stream="belt", low=1, high=5)
    assert outbox.frame(gone, 1) is None


def test_the_writer_survives_our_own_bugs(tmp_path: Path) -> None:
    supervision = Supervision(SystemClock())
    outbox = Outbox(
        tmp_path / "outbox.sqlite",
        device="d1",
        boot="boot1",
        limits=FAST,
        clock=SystemClock(),
        guarded=supervision.guarded,
    )

    def fail_once() -> None:
        outbox.on_commit(None)
        raise RuntimeError("a bug")

    outbox.on_commit(fail_once)
    outbox.start()
    try:
        outbox.put_alert(alert(1), None)
        assert outbox.flush(10.0)
        outbox.put_alert(alert(2), None)
        assert outbox.flush(10.0), "the thread that writes alerts is gone"
        assert outbox.counters().alerts_stored == 2
    finally:
        supervision.stop()
        outbox.close()


def test_a_large_damaged_outbox_is_salvaged_in_little_memory(tmp_path: Path) -> None:
    body = codec.canonical(window(1, padding=400))
    count = (16 << 20) // len(body)
    opened(tmp_path, start=False).close()
    path = tmp_path / "outbox.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO stream(id, boot, name) VALUES (1, 'boot0', 'belt')")
        db.executemany(
            "INSERT INTO window(stream, seq, body) VALUES (1, ?, ?)",
            ((number, body) for number in range(1, count + 1)),
        )
        db.execute("PRAGMA user_version=99")  # not a schema of ours

    tracemalloc.start()
    outbox = opened(tmp_path, boot="boot2", start=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    try:
        assert [(span.low, span.high) for span in outbox.spans()] == [(1, count)]
        assert peak < 4 << 20, f"{peak >> 20} MB"
    finally:
        outbox.close()
