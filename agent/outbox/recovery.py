"""Opening a database that may be damaged: set it aside, save what can be read, start fresh.

A device with a broken outbox still watches and alerts; it never refuses to start over it.
"""

import logging
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from agent.damaged import marked, set_aside, unmark
from agent.outbox.disk_error import is_damage
from agent.outbox.limits import OutboxLimits
from agent.outbox.store import Store
from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.telemetry import Window
from edgeops.errors import ContractError
from edgeops.failpoint import hit

logger = logging.getLogger(__name__)

MAX_ROWS: Final = 1_000_000
"""Bounded, whatever the file claims."""


def open_store(path: Path, *, boot: str, limits: OutboxLimits) -> tuple[Store, tuple[str, ...]]:
    """Return an open database and what had to be done for it, in sentences.

    Raises:
        sqlite3.Error: The disk does not let us have any database now.
        OSError: Likewise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = marked(path)
    try:
        store = Store(path, boot=boot, limits=limits)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        unfinished = set_aside(path, mark=True)
        logger.warning("outbox %s is damaged (%s); set aside as %s", path, error, unfinished.name)
        store = Store(path, boot=boot, limits=limits)
    if unfinished is None:
        return store, ()
    store.close()
    hit("outbox.before_salvage")
    saved = _salvage(unfinished, path)
    unmark(unfinished)
    notice = (
        f"the outbox was damaged and set aside as {unfinished.name}; {saved} of its rows were saved"
    )
    return Store(path, boot=boot, limits=limits), (notice,)


def _salvage(damaged: Path, target: Path) -> int:
    """Copy every row that can still be read and still makes sense; return how many.

    Copying twice is harmless: rows that are there already stay as they are.
    """
    saved = 0
    with closing(sqlite3.connect(target, isolation_level=None, timeout=2)) as db:
        db.execute("BEGIN IMMEDIATE")
        for event_id, body, acked in _rows(damaged, "alert", "id", "event_id, body, acked"):
            if _is_alert(body):
                saved += db.execute(
                    "INSERT OR IGNORE INTO alert(event_id, body, acked) VALUES (?, ?, ?)",
                    (event_id, body, acked),
                ).rowcount
        for key, value in _rows(damaged, "kv", "key", "key, value"):
            saved += db.execute("INSERT OR IGNORE INTO kv VALUES (?, ?)", (key, value)).rowcount
        streams = set()
        for row in _rows(damaged, "stream", "id", "id, boot, name, shed"):
            db.execute("INSERT OR IGNORE INTO stream VALUES (?, ?, ?, ?)", row)
            streams.add(row[0])
        for stream, seq, body in _rows(damaged, "window", "id", "stream, seq, body"):
            # A window whose stream is lost has no name to go home under.
            if stream in streams and _is_window(body):
                saved += db.execute(
                    "INSERT OR IGNORE INTO window(stream, seq, body) VALUES (?, ?, ?)",
                    (stream, seq, body),
                ).rowcount
        hit("outbox.before_salvage_commit")
        db.execute("COMMIT")
    return saved


def _rows(path: Path, table: str, key: str, columns: str) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a damaged table from both ends, as far as they can be read.

    Row by row: the file may be larger than the memory of a small board, and a device that runs
    out of memory here would do so at every start.
    """
    statement = f"SELECT {key}, {columns} FROM {table}"  # noqa: S608  # our own constants
    seen: set[object] = set()
    whole = yield from _forward(path, f"{statement} ORDER BY {key} LIMIT {MAX_ROWS}", seen)
    if whole:
        return
    # How far one gets from the far end, then from there on in the order of writing.
    nearest: object = None
    for row in _read(path, f"{statement} ORDER BY {key} DESC LIMIT {MAX_ROWS}", ()):
        if row is None or row[0] in seen:
            break
        nearest = row[0]
    if nearest is not None:
        for row in _read(path, f"{statement} WHERE {key} >= ? ORDER BY {key}", (nearest,)):
            if row is not None:
                yield row[1:]


def _forward(
    path: Path, statement: str, seen: set[object]
) -> Generator[tuple[object, ...], None, bool]:
    """Yield rows without their key, note the keys; return whether the end was reached."""
    for row in _read(path, statement, ()):
        if row is None:
            return False
        seen.add(row[0])
        yield row[1:]
    return True


def _read(
    path: Path, statement: str, values: tuple[object, ...]
) -> Iterator[tuple[object, ...] | None]:
    """Yield the rows of a statement; ``None`` where the damage begins, and no more."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            # Without this SQLite does not read a line of a file that was cut short.
            db.execute("PRAGMA writable_schema=ON")
            yield from db.execute(statement, values)
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        logger.info("salvage from %s stopped: %s", path.name, error)
        yield None


def _is_alert(body: object) -> bool:
    try:
        return isinstance(body, bytes) and bool(codec.decode(body, AlertEvent, where="alert"))
    except ContractError:
        return False


def _is_window(body: object) -> bool:
    try:
        return isinstance(body, bytes) and bool(codec.decode(body, Window, where="window"))
    except ContractError:
        return False
