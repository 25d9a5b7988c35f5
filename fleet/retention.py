"""Forgetting what is old, a little at a time, so that the writer is never held up."""

from typing import Final

from sqlalchemy import Connection, delete, select

from fleet.config import RetentionSection
from fleet.db.schema import alert, frame, stream

ROWS: Final = 5000


def forget(connection: Connection, rules: RetentionSection, *, now_s: float) -> int:
    """Delete old frames, alerts and cursors; return how many rows went.

    A cursor outlives its frames by as much again: a device that comes back late and sends an
    old boot's windows once more is still recognised.
    """
    gone = {}
    for table, age_s in ((frame, rules.frames), (alert, rules.alerts)):
        old = (
            select(table.c.id)
            .where(table.c.received_s < now_s - age_s)
            .order_by(table.c.received_s)
            .limit(ROWS)
        )
        gone[table.name] = connection.execute(delete(table).where(table.c.id.in_(old))).rowcount
    cursors = 0
    if gone[frame.name] < ROWS:  # none of the old frames is left
        old_cursors = delete(stream).where(stream.c.updated_s < now_s - 2 * rules.frames)
        cursors = connection.execute(old_cursors).rowcount
    return sum(gone.values()) + cursors
