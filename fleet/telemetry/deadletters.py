"""Messages that could not be taken, set aside for people; bounded in number and length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from fleet.db.schema import dead_letter
from fleet.telemetry.messages import Refused

MAX_PAYLOAD: Final = 1024
MAX_LISTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message set aside; ``payload`` is its beginning as text."""

    row: int
    received_s: float
    device: str
    topic: str
    cause: str
    detail: str
    size_bytes: int
    payload: str


def add(connection: Connection, refused: Sequence[Refused], *, now_s: float, keep: int) -> None:
    """Set messages aside; the oldest beyond ``keep`` go."""
    # Of a flood, the newest of one batch that would stay anyway are written.
    for message in refused[-keep:] if keep else ():
        connection.execute(
            insert(dead_letter).values(
                received_s=now_s,
                device=message.device[:64],
                topic=_storable(message.raw.topic[:300]),
                cause=message.cause.value,
                detail=_storable(message.detail[:500]),
                size_bytes=len(message.raw.payload),
                payload=message.raw.payload[:MAX_PAYLOAD],
            )
        )
    newest = select(func.max(dead_letter.c.id)).scalar_subquery()
    connection.execute(delete(dead_letter).where(dead_letter.c.id <= newest - keep))


def listed(
    connection: Connection, *, device: str | None = None, limit: int = 100
) -> tuple[DeadLetter, ...]:
    """Return messages set aside, newest first."""
    query = select(dead_letter).order_by(dead_letter.c.id.desc()).limit(min(limit, MAX_LISTED))
    if device is not None:
        query = query.where(dead_letter.c.device == device)
    return tuple(
        DeadLetter(
            row=row.id,
            received_s=row.received_s,
            device=row.device,
            topic=row.topic,
            cause=row.cause,
            detail=row.detail,
            size_bytes=row.size_bytes,
            payload=row.payload.decode("utf-8", errors="replace"),
        )
        for row in connection.execute(query)
    )


def _storable(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode()
