"""Old rows go, young ones stay, and a late repeat is still recognised."""

from sqlalchemy import Table, func, insert, select

from edgeops.quantities import Duration
from fleet.config import RetentionSection
from fleet.db.engine import Database
from fleet.db.schema import alert, device, frame, stream
from fleet.retention import forget

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
