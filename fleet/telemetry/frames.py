"""Frames as rows that never overlap, and the cursor of each stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from edgeops import codec
from edgeops.contracts.telemetry import MAX_WINDOWS, Frame
from fleet.db.schema import frame as frames
from fleet.db.schema import stream as streams
from fleet.telemetry.messages import FrameKey
from fleet.telemetry.sequence import Range, extended, new_ranges, trimmed

WALK: Final = 1000
"""Frames looked at in one go where a gap has closed; the next frame goes on from there."""

Place = tuple[str, str, str]
"""Device, boot and stream."""


@dataclass(slots=True)
class Cursor:
    """Where a stream stands; ``highest`` is above ``contiguous`` where there are gaps."""

    contiguous: int = 0
    highest: int = 0
    windows: int = 0
    shed: int = 0


class FrameWriter:
    """Stores the frames of one batch; make a new one for each transaction.

    Args:
        connection: Inside a write transaction.
        now_s: Wall seconds.
    """

    def __init__(self, connection: Connection, now_s: float) -> None:
        self._connection = connection
        self._now_s = now_s
        self._cursors: dict[Place, Cursor] = {}
        # Written together: one statement of many rows costs a third of many statements.
        self._pending: list[dict[str, str | float | bytes]] = []

    def add(self, frame: Frame, body: bytes) -> tuple[Frame, ...]:
        """Store the windows of ``frame`` that are new; return them, as one or more frames.

        Args:
            frame: Of a device that is enrolled.
            body: The bytes as received, stored where the whole frame is new.
        """
        cursor = self._cursor((frame.device, frame.boot, frame.stream))
        cursor.shed = max(cursor.shed, frame.shed)
        cursor.contiguous = max(cursor.contiguous, frame.base - 1)
        wanted = (frame.seq_from, frame.seq_to)
        stored: list[Frame] = []
        for kept in self._fresh(frame, cursor, wanted):
            whole = kept == wanted
            part = frame if whole else trimmed(frame, kept)
            self._pending.append(
                _row(
                    part,
                    kept,
                    t0=part.t0,
                    clock=part.clock,
                    model=part.model,
                    now_s=self._now_s,
                    body=body if whole else codec.canonical(part),
                )
            )
            cursor.windows += kept[1] - kept[0] + 1
            stored.append(part)
        self._advance(frame, cursor)
        return tuple(stored)

    def give_up(self, key: FrameKey) -> None:
        """Count windows as seen that could not be read, so that they block nothing."""
        cursor = self._cursor((key.device, key.boot, key.stream))
        for kept in self._fresh(key, cursor, (key.seq_from, key.seq_to)):
            self._pending.append(
                _row(key, kept, t0=0.0, clock="bad", model="", now_s=self._now_s, body=b"")
            )
        self._advance(key, cursor)

    def finish(self) -> dict[Place, int]:
        """Write frames and cursors; return the contiguous number of every stream touched."""
        self._flush()
        for (device, boot, stream), cursor in self._cursors.items():
            values = {
                "contiguous": cursor.contiguous,
                "highest": cursor.highest,
                "windows": cursor.windows,
                "shed": cursor.shed,
                "updated_s": self._now_s,
            }
            self._connection.execute(
                upsert(streams)
                .values(device=device, boot=boot, stream=stream, **values)
                .on_conflict_do_update(index_elements=["device", "boot", "stream"], set_=values)
            )
        return {place: cursor.contiguous for place, cursor in self._cursors.items()}

    def _cursor(self, place: Place) -> Cursor:
        if place not in self._cursors:
            device, boot, stream = place
            row = self._connection.execute(
                select(streams).where(
                    streams.c.device == device,
                    streams.c.boot == boot,
                    streams.c.stream == stream,
                )
            ).first()
            self._cursors[place] = (
                # Frames may have outlived their cursor: they must still be seen.
                Cursor(highest=self._highest_stored(place))
                if row is None
                else Cursor(row.contiguous, row.highest, row.windows, row.shed)
            )
        return self._cursors[place]

    def _highest_stored(self, place: Place) -> int:
        device, boot, stream = place
        found: int | None = self._connection.execute(
            select(func.max(frames.c.seq_to)).where(
                frames.c.device == device, frames.c.boot == boot, frames.c.stream == stream
            )
        ).scalar_one()
        return found or 0

    def _fresh(self, at: Frame | FrameKey, cursor: Cursor, wanted: Range) -> Sequence[Range]:
        if wanted[0] > cursor.highest:
            return [wanted]  # the usual case: nothing beyond is stored
        return new_ranges(wanted, self._stored(at, wanted))

    def _stored(self, at: Frame | FrameKey, wanted: Range) -> list[Range]:
        """Return the stored ranges that touch ``wanted``."""
        self._flush()
        rows = self._connection.execute(
            select(frames.c.seq_from, frames.c.seq_to)
            .where(
                frames.c.device == at.device,
                frames.c.boot == at.boot,
                frames.c.stream == at.stream,
                # No frame is longer, so the index is searched in a short range.
                frames.c.seq_from > wanted[0] - MAX_WINDOWS,
                frames.c.seq_from <= wanted[1],
                frames.c.seq_to >= wanted[0],
            )
            .order_by(frames.c.seq_from)
            .limit(2 * WALK)
        )
        return [(row.seq_from, row.seq_to) for row in rows]

    def _advance(self, at: Frame | FrameKey, cursor: Cursor) -> None:
        cursor.highest = max(cursor.highest, at.seq_to)
        if at.seq_from <= cursor.contiguous + 1:
            cursor.contiguous = max(cursor.contiguous, at.seq_to)
        while cursor.highest > cursor.contiguous:
            beyond = (cursor.contiguous + 1, cursor.contiguous + WALK)
            reached = extended(cursor.contiguous, self._stored(at, beyond))
            if reached == cursor.contiguous:
                break
            cursor.contiguous = reached

    def _flush(self) -> None:
        if self._pending:
            self._connection.execute(insert(frames), self._pending)
            self._pending = []


def _row(
    at: Frame | FrameKey,
    kept: Range,
    *,
    t0: float,
    clock: str,
    model: str,
    now_s: float,
    body: bytes,
) -> dict[str, str | float | bytes]:
    return {
        "device": at.device,
        "boot": at.boot,
        "stream": at.stream,
        "seq_from": kept[0],
        "seq_to": kept[1],
        "t0": t0,
        "clock": clock,
        "model": model,
        "received_s": now_s,
        "body": body,
    }
