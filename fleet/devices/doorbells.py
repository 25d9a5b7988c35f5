"""The transactional outbox of doorbells: who must be rung, and who was."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from fleet.db.schema import doorbell


@dataclass(frozen=True, slots=True)
class Ring:
    """One device that something waits for."""

    device: str
    gen: int


def waiting(connection: Connection, limit: int) -> tuple[Ring, ...]:
    """Return the oldest doorbells that no broker has taken yet."""
    rows = connection.execute(
        select(doorbell.c.device, doorbell.c.gen).order_by(doorbell.c.rung_s).limit(limit)
    )
    return tuple(Ring(row.device, row.gen) for row in rows)


def taken(connection: Connection, rings: Iterable[Ring]) -> None:
    """Remove doorbells that the broker has taken, unless a newer generation waits by now."""
    for ring in rings:
        connection.execute(
            delete(doorbell).where(doorbell.c.device == ring.device, doorbell.c.gen == ring.gen)
        )
