"""A batch in one transaction: nothing twice, nothing lost, bad messages aside."""

import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select

from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.telemetry import Ack, Frame
from edgeops.contracts.update import Connection as DeviceConnection
from edgeops.contracts.update import DeviceReport, SlotReport, UpdateState
from fleet.db.engine import Database
from fleet.db.schema import alert, dead_letter, device, frame, slot_state, stream
from fleet.telemetry import summary
from fleet.telemetry.messages import Raw, read
from fleet.telemetry.store import Outcome, store
from tests.unit.fleet.database import migrated

NOW_S = 1_800_000_000.0


def add_devices(connection: Connection, *names: str) -> None:
    for name in names:
        connection.execute(
            insert(device).values(id=name, labels={}, password_hash="", enrolled_s=0.0)
        )


@pytest.fixture
def fleet(database: Database) -> Database:
    database.write_here(lambda connection: add_devices(connection, "d1", "d2"))
    return database


def raw(document: object, kind: str, name: str = "d1") -> Raw:
    return Raw(f"eo/1/default/{name}/{kind}", codec.canonical(document))


def windows(first: int, last: int, *, base: int = 1, shed: int = 0, name: str = "d1") -> Raw:
    numbers = range(first, last + 1)
    document = Frame(
        device=name,
        boot="b1",
        stream="cam",
        seq_from=first,
        seq_to=last,
        base=base,
        shed=shed,
        t0=float(first),
        model="sha256:" + "a" * 64,
        columns={
            "t": tuple(float(n) for n in numbers),
            "span_s": tuple(2.0 for _ in numbers),
            "frames": tuple(float(n) for n in numbers),
        },
        labels={"ok": tuple(1 for _ in numbers)},
    )
    return raw(document, "telemetry/cam", name)


def event(number: int) -> Raw:
    document = AlertEvent(
        device="d1",
        boot="b1",
        event_id=f"b1-{number}",
        alert_id=f"a{number}",
        state="raised",
        rule="hot",
        pipeline="p",
        t=1.0,
        wall=NOW_S,
        clock="sync",
    )
    return raw(document, "alert")


def take(database: Database, messages: Iterable[Raw], *, keep_dead: int = 100) -> Outcome:
    batch = [read(message, tenant="default") for message in messages]
    return database.write_here(
        lambda connection: store(
            connection, batch, now_s=NOW_S, keep_reports=3, keep_dead=keep_dead
        )
    )


def ack(outcome: Outcome, name: str = "d1") -> Ack:
    return dict(outcome.acks)[name]


def stored_windows(database: Database) -> list[int]:
    rows = database.write_here(
        lambda connection: connection.execute(
            select(frame.c.seq_from, frame.c.seq_to).order_by(frame.c.seq_from)
        ).all()
    )
    return [n for row in rows for n in range(row.seq_from, row.seq_to + 1)]


def test_a_repeat_is_answered_again_and_stored_once(fleet: Database) -> None:
    first = take(fleet, [windows(1, 5), event(1)])
    again = take(fleet, [windows(1, 5), event(1)])

    assert ack(first) == ack(again) == Ack(boot="b1", streams={"cam": 5}, alerts=("b1-1",))
    assert stored_windows(fleet) == [1, 2, 3, 4, 5]
    assert again.counts["repeated.windows"] == 5
    assert again.counts["repeated.alerts"] == 1


def test_repacked_frames_are_trimmed_to_what_is_new(fleet: Database) -> None:
    take(fleet, [windows(3, 5), windows(9, 9)])

    outcome = take(fleet, [windows(1, 12)])

    assert ack(outcome).streams == {"cam": 12}
    assert stored_windows(fleet) == list(range(1, 13))
    total = fleet.write_here(summary.summaries)[0]
    assert total.windows == 12
    assert total.figures["frames"].sum == sum(range(1, 13))
    assert total.labels == {"ok": 12}


def test_a_gap_holds_the_answer_back_until_it_is_filled(fleet: Database) -> None:
    assert ack(take(fleet, [windows(1, 2), windows(5, 6)])).streams == {"cam": 2}
    assert ack(take(fleet, [windows(3, 4)])).streams == {"cam": 6}


def test_base_says_that_what_is_below_will_never_come(fleet: Database) -> None:
    take(fleet, [windows(1, 2), windows(8, 9)])

    outcome = take(fleet, [windows(6, 7, base=6, shed=3)])

    assert ack(outcome).streams == {"cam": 9}
    cursor = fleet.write_here(lambda connection: connection.execute(select(stream)).one())
    assert (cursor.contiguous, cursor.windows, cursor.shed) == (9, 6, 3)


def test_a_frame_older_than_base_that_still_arrives_is_stored_once(fleet: Database) -> None:
    take(fleet, [windows(7, 8, base=7)])

    take(fleet, [windows(5, 6), windows(5, 6)])

    assert stored_windows(fleet) == [5, 6, 7, 8]


def test_bad_messages_stand_aside_and_spoil_nothing(fleet: Database) -> None:
    outcome = take(
        fleet,
        [
            windows(1, 1),
            Raw("eo/1/default/d1/telemetry/cam", b"not json"),
            windows(1, 1, name="ghost"),
            Raw("eo/1/default/d2/alert", event(9).payload),
            windows(2, 2),
        ],
    )

    assert ack(outcome).streams == {"cam": 2}
    assert {name for name, _ in outcome.acks} == {"d1"}
    assert outcome.counts["refused.malformed"] == 1
    assert outcome.counts["refused.unknown-device"] == 1
    assert outcome.counts["refused.wrong-device"] == 1
    causes = fleet.write_here(
        lambda connection: connection.execute(select(dead_letter.c.cause)).scalars().all()
    )
    assert sorted(causes) == ["malformed", "unknown-device", "wrong-device"]


def test_a_poisoned_frame_that_can_be_named_does_not_block_its_stream(fleet: Database) -> None:
    poison = windows(2, 3).payload.replace(b'"span_s"', b'"spin_s"')

    outcome = take(
        fleet, [windows(1, 1), Raw("eo/1/default/d1/telemetry/cam", poison), windows(4, 4)]
    )

    assert ack(outcome).streams == {"cam": 4}
    assert outcome.counts["stored.windows"] == 2
    assert len(fleet.write_here(lambda c: summary.recent_frames(c, "d1", "cam"))) == 2


def test_dead_letters_are_bounded(fleet: Database) -> None:
    for _ in range(3):
        take(fleet, [Raw("eo/1/default/d1/alert", b"x")] * 7, keep_dead=10)

    rows = fleet.write_here(
        lambda connection: connection.execute(select(dead_letter.c.id)).scalars().all()
    )
    assert len(rows) == 10


def test_reports_replace_slots_and_older_ones_change_nothing(fleet: Database) -> None:
    def report(seq: int, state: UpdateState, boot: str = "b1") -> Raw:
        slot = SlotReport(slot="main", gen=1, state=state)
        document = DeviceReport(device="d1", boot=boot, report_seq=seq, slots=(slot,))
        return raw(document, "reported")

    assert ack(take(fleet, [report(2, UpdateState.FETCH)])).report_seq == 2
    assert ack(take(fleet, [report(1, UpdateState.ASSIGNED)])).report_seq == 2
    take(fleet, [report(1, UpdateState.COMMITTED, "b2")])
    outcome = take(fleet, [report(9, UpdateState.REJECTED, "b1")])

    state = fleet.write_here(lambda c: c.execute(select(slot_state.c.state)).scalar_one())
    assert state == "committed"
    assert ack(outcome).report_seq == 9


def test_a_late_will_of_an_older_boot_takes_nobody_down(fleet: Database) -> None:
    def said(boot: str, *, online: bool) -> Raw:
        return raw(DeviceConnection(device="d1", online=online, boot=boot), "conn")

    def online() -> bool:
        return bool(
            fleet.write_here(
                lambda c: c.execute(select(device.c.online).where(device.c.id == "d1")).scalar_one()
            )
        )

    take(fleet, [said("b1", online=True), said("b2", online=True), said("b1", online=False)])
    assert online()
    take(fleet, [said("b2", online=False)])
    assert not online()


def test_what_the_database_cannot_take_is_set_aside_alone(fleet: Database) -> None:
    # A trigger stands for any fault of one row that no check of ours foresees.
    fleet.write_here(
        lambda c: c.exec_driver_sql(
            "CREATE TRIGGER no_nine BEFORE INSERT ON alert WHEN NEW.event_id = 'b1-9'"
            " BEGIN SELECT RAISE(ABORT, 'no nine'); END"
        )
    )

    outcome = take(fleet, [event(8), event(9), windows(1, 3), event(10)])

    assert ack(outcome).streams == {"cam": 3}
    assert set(ack(outcome).alerts) == {"b1-8", "b1-9", "b1-10"}
    assert outcome.counts["refused.unstorable"] == 1
    stored = fleet.write_here(lambda c: c.execute(select(alert.c.event_id)).scalars().all())
    assert sorted(stored) == ["b1-10", "b1-8"]


PAIRS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 10)), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(PAIRS, st.integers(1, 4))
def test_any_repacking_and_order_stores_each_window_once(
    pairs: list[tuple[int, int]], per_batch: int
) -> None:
    with TemporaryDirectory() as folder, migrated(Path(folder)) as database:
        database.write_here(lambda connection: add_devices(connection, "d1"))
        batches = [pairs[i : i + per_batch] for i in range(0, len(pairs), per_batch)]
        outcomes = [
            take(database, [windows(first, first + more) for first, more in batch])
            for batch in batches
        ]

        found = stored_windows(database)
        assert len(found) == len(set(found)), "a window is stored twice"
        assert set(found) == {n for first, more in pairs for n in range(first, first + more + 1)}
        reached = 0
        while reached + 1 in found:
            reached += 1
        assert ack(outcomes[-1]).streams == {"cam": reached}
        total = database.write_here(summary.summaries)[0]
        assert (total.windows, total.figures["frames"].sum) == (len(found), sum(found))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = ("seq_from", "seq_to", "base", "shed", "t0", "clock", "model", "columns", "labels", "boot")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), JSON), min_size=1, max_size=3))
def test_no_frame_stops_the_batch_it_came_in(changes: list[tuple[str, object]]) -> None:
    document = {**json.loads(windows(1, 3).payload), **dict(changes)}
    hostile = Raw("eo/1/default/d1/telemetry/cam", json.dumps(document).encode())

    with TemporaryDirectory() as folder, migrated(Path(folder)) as database:
        database.write_here(lambda connection: add_devices(connection, "d1", "d2"))
        outcome = take(database, [hostile, windows(1, 3, name="d2"), hostile])

    assert ack(outcome, "d2").streams == {"cam": 3}


def test_frames_without_their_cursor_hold_up_no_batch(fleet: Database) -> None:
    """Such as after forgetting lagged behind: the same windows come again."""
    take(fleet, [windows(1, 5), windows(8, 9)])
    fleet.write_here(lambda c: c.execute(delete(stream)))
    cut = Raw(
        "eo/1/default/d1/telemetry/cam", windows(1, 5).payload.replace(b'"t0":1.0', b'"t0":[]')
    )

    outcome = take(fleet, [cut, windows(1, 7, name="d2")])

    assert ack(outcome, "d2").streams == {"cam": 7}
    assert ack(take(fleet, [windows(4, 6)])).streams == {"cam": 6}
    rows = fleet.write_here(lambda c: c.execute(select(frame.c.seq_from, frame.c.device)).all())
    assert sorted(row.seq_from for row in rows if row.device == "d1") == [1, 6, 8]


def test_no_device_can_make_the_counts_overflow(fleet: Database) -> None:
    most = 2**53
    boots = [
        {
            "device": "d1", "boot": f"b{n}", "stream": "s", "contiguous": 0, "highest": 0,
            "windows": 0, "shed": most, "updated_s": NOW_S,
        }
        for n in range(1025)
    ]  # fmt: skip
    fleet.write_here(lambda c: c.execute(insert(stream), boots))

    assert fleet.write_here(summary.counts).shed >= 1024 * most
