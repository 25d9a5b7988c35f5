"""Who changed what, beside the change itself; and durable counts of what was refused."""

import logging
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from fleet.db.schema import audit, counter

logger = logging.getLogger(__name__)

OPERATOR: Final = "operator"


def record(
    connection: Connection,
    *,
    action: str,
    subject: str,
    now_s: float,
    actor: str = OPERATOR,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Write one line of the audit trail in the caller's transaction."""
    logger.info("%s: %s by %s", action, subject, actor)
    connection.execute(
        insert(audit).values(
            at_s=now_s, actor=actor, action=action, subject=subject, detail=dict(detail or {})
        )
    )


def count(connection: Connection, added: Mapping[str, int]) -> None:
    """Add to the durable counters in the caller's transaction."""
    for name, value in added.items():
        if value:
            connection.execute(
                upsert(counter)
                .values(name=name, value=value)
                .on_conflict_do_update(
                    index_elements=["name"], set_={"value": counter.c.value + value}
                )
            )


def counters(connection: Connection) -> dict[str, int]:
    """Return every durable counter by name."""
    rows = connection.execute(select(counter.c.name, counter.c.value).order_by(counter.c.name))
    return {row.name: row.value for row in rows}
