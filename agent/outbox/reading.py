"""Reading the outbox beside its writer: the sender, the local API, the command line."""

import sqlite3
import threading
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from agent.outbox.packing import Span
from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.telemetry import MAX_FRAME_BYTES, MAX_WINDOWS, Window
from edgeops.errors import ContractError

Row = TypeVar("Row", bound=tuple[object, ...])


class Reader:
    """A connection that only reads; usable from any thread.

    A database that is missing, locked or damaged reads as empty: the writer is the one who
    notices and heals.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def unacked(self, limit: int, skip: Collection[str] = ()) -> tuple[AlertEvent, ...]:
        """Return up to ``limit`` alerts that nobody acknowledged, newest first."""
        rows: list[tuple[str, bytes]] = self._rows(
            "SELECT event_id, body FROM alert WHERE acked = 0 ORDER BY id DESC LIMIT ?",
            (limit + len(skip),),
        )
        wanted = [body for event_id, body in rows if event_id not in skip]
        return _alerts(wanted[:limit])

    def recent(self, limit: int) -> tuple[AlertEvent, ...]:
        """Return the last ``limit`` alerts, newest first."""
        rows: list[tuple[bytes]] = self._rows(
            "SELECT body FROM alert ORDER BY id DESC LIMIT ?", (limit,)
        )
        return _alerts([body for (body,) in rows])

    def windows(self, span: Span, first: int) -> tuple[int, list[Window]]:
        """Return the first number held from ``first`` on, and the windows that follow it.

        About as many as fit into a frame. A window whose bytes rotted on the disk comes as an
        empty one with the figure ``damaged``, so that it never blocks its stream.
        """
        rows: list[tuple[int, bytes]] = self._rows(
            "SELECT seq, body FROM window WHERE stream = ? AND seq >= ? ORDER BY seq LIMIT ?",
            (span.stream_id, first, MAX_WINDOWS),
        )
        found: list[Window] = []
        length = 0
        start = rows[0][0] if rows else first
        for seq, body in rows:
            # Columns take less room than rows, so this reads a little more than will fit.
            if seq != start + len(found) or length > 2 * MAX_FRAME_BYTES:
                break
            try:
                found.append(codec.decode(body, Window, where="window"))
            except ContractError:
                found.append(Window(t=0.0, span_s=0.0, values={"damaged": 1.0}))
            length += len(body)
        return start, found

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        with self._lock:
            self._close()

    def _rows(self, statement: str, values: tuple[int, ...]) -> list[Row]:
        with self._lock:
            try:
                if self._db is None:
                    self._db = sqlite3.connect(
                        f"{self._path.absolute().as_uri()}?mode=ro",
                        uri=True,
                        check_same_thread=False,
                        timeout=2,
                        isolation_level=None,
                    )
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error:
                self._close()
                return []

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _alerts(bodies: list[bytes]) -> tuple[AlertEvent, ...]:
    found = []
    for body in bodies:
        try:
            found.append(codec.decode(body, AlertEvent, where="alert"))
        except ContractError:
            continue
    return tuple(found)
