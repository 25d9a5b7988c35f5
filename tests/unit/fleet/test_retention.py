"""Old rows go, young ones stay, and a late repeat is still recognised."""

import asyncio
import contextlib

from sqlalchemy import Table, func, insert, select

from edgeops.quantities import Duration
from fleet.config import RetentionSection
from fleet.db.engine import Database
from fleet.db.schema import alert, device, frame, stream
from fleet.retention import ROWS, forget
from fleet.ticker import forget_in_turns
from tests.unit.fleet.database import SetClock, until

DAY_S = 86_400.0
NOW_S = 1_800_000_000.0


def test_rows_go_by_their_own_age(database: Database) -> None:
    rules = RetentionSection(frames=Duration(10 * DAY_S), alerts=Duration(100 * DAY_S))
    database.write_here(
        lambda c: c.execute(
            insert(device).values(id="d", labels={}, password_hash="", enrolled_s=0.0)
        )
    )
    for age_days in (1, 15, 50, 200):
        at = {"device": "d", "boot": f"b{age_days}", "received_s": NOW_S - age_days * DAY_S}
        database.write_here(
            lambda c, at=at: c.execute(  # type: ignore[misc]
                insert(frame).values(
                    **at, stream="s", seq_from=1, seq_to=1, t0=0, clock="bad", model="", body=b"x"
                )
            )
        )
        database.write_here(
            lambda c, at=at, n=age_days: c.execute(  # type: ignore[misc]
                insert(alert).values(
                    **at, event_id=f"e{n}", alert_id="a", state="raised", rule="r",
                    severity="low", wall=0.0, body=b"{}",
                )
            )
        )  # fmt: skip
        database.write_here(
            lambda c, n=age_days: c.execute(  # type: ignore[misc]
                insert(stream).values(
                    device="d", boot=f"b{n}", stream="s", contiguous=1, highest=1, windows=1,
                    shed=0, updated_s=NOW_S - n * DAY_S,
                )
            )
        )  # fmt: skip

    gone = database.write_here(lambda c: forget(c, rules, now_s=NOW_S))

    def left(table: Table) -> int:
        query = select(func.count()).select_from(table)
        return database.write_here(lambda c: c.execute(query).scalar_one())

    assert (left(frame), left(alert), left(stream)) == (1, 3, 2)
    assert gone == 3 + 1 + 2
    assert database.write_here(lambda c: forget(c, rules, now_s=NOW_S)) == 0


def add_old_frames(database: Database, number: int, *, age_s: float) -> None:
    rows = [
        {
            "device": "d", "boot": "b", "stream": "s", "seq_from": n + 1, "seq_to": n + 1,
            "t0": 0.0, "clock": "bad", "model": "", "body": b"x", "received_s": NOW_S - age_s,
        }
        for n in range(number)
    ]  # fmt: skip
    cursor = {
        "device": "d", "boot": "b", "stream": "s", "contiguous": number, "highest": number,
        "windows": number, "shed": 0, "updated_s": NOW_S - age_s,
    }  # fmt: skip
    database.write_here(
        lambda c: c.execute(
            insert(device).values(id="d", labels={}, password_hash="", enrolled_s=0.0)
        )
    )
    database.write_here(lambda c: c.execute(insert(frame), rows))
    database.write_here(lambda c: c.execute(insert(stream).values(**cursor)))


def number_of(database: Database, table: Table) -> int:
    query = select(func.count()).select_from(table)
    return database.write_here(lambda c: c.execute(query).scalar_one())


def test_a_cursor_never_goes_before_its_frames(database: Database) -> None:
    rules = RetentionSection(frames=Duration(10 * DAY_S))
    add_old_frames(database, ROWS + 1, age_s=30 * DAY_S)

    database.write_here(lambda c: forget(c, rules, now_s=NOW_S))

    assert (number_of(database, frame), number_of(database, stream)) == (1, 1)
    database.write_here(lambda c: forget(c, rules, now_s=NOW_S))
    assert (number_of(database, frame), number_of(database, stream)) == (0, 0)


def test_forgetting_keeps_up_with_a_fleet_that_sends_more_than_one_round_a_minute(
    database: Database,
) -> None:
    rules = RetentionSection(frames=Duration(10 * DAY_S))
    add_old_frames(database, 2 * ROWS + 1, age_s=11 * DAY_S)

    async def scene() -> None:
        task = asyncio.create_task(
            forget_in_turns(database, rules, SetClock(NOW_S), every_s=0.01, rounds=3)
        )
        await until(lambda: number_of(database, frame) == 0 or task.done())
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert number_of(database, frame) == 0
