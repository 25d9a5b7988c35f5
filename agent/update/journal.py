"""The updater's journal: one record per slot, on disk before any effect of it happens."""

import contextlib
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Final, Protocol

from agent.damaged import set_aside
from agent.update.record import SlotRecord
from edgeops import codec
from edgeops.errors import ContractError, StorageError
from edgeops.failpoint import hit

logger = logging.getLogger(__name__)

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS slot(name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS number(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Journal(Protocol):
    """Durable records; each call happened entirely or not at all."""

    def load(self, slot: str) -> SlotRecord | None:
        """Return a slot's record, or ``None`` where there is none that can be read."""
        ...

    def save(self, record: SlotRecord) -> None:
        """Replace a slot's record and wait until it is on disk; raises ``StorageError``."""
        ...

    def next_report(self) -> int:
        """Return the next report's number, from 1."""
        ...


class SqliteJournal:
    """The journal on a device; usable from any thread.

    A damaged journal is set aside: what runs is known from the links on disk.

    Args:
        path: The database.

    Attributes:
        notices: What had to be done to open it, in sentences.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._number = 0
        self.notices: tuple[str, ...] = ()

    def load(self, slot: str) -> SlotRecord | None:
        """Return a slot's record; a damaged journal or record counts as none.

        Raises:
            StorageError: The disk does not let us read.
        """
        try:
            with self._lock:
                found = self._open().execute("SELECT body FROM slot WHERE name = ?", (slot,))
                row = found.fetchone()
            return None if row is None else codec.decode(row[0], SlotRecord, where=f"slot {slot}")
        except ContractError as error:
            logger.warning("journal: %s", error)
            self.notices = (*self.notices, f"the journal's record of {slot} is damaged: {error}")
            return None
        except (sqlite3.Error, OSError) as error:
            raise self._trouble(error) from error

    def save(self, record: SlotRecord) -> None:
        """Replace a slot's record; on return it survives a power cut."""
        hit("update.before_journal")
        try:
            with self._lock:
                self._open().execute(
                    "INSERT INTO slot(name, body) VALUES (?, ?)"
                    " ON CONFLICT(name) DO UPDATE SET body = excluded.body",
                    (record.slot, codec.canonical(record)),
                )
        except (sqlite3.Error, OSError) as error:
            raise self._trouble(error) from error
        hit(f"update.saved_{record.state.value}")

    def next_report(self) -> int:
        """Return the next report's number; it grows over restarts.

        While the disk refuses, numbers go on in memory: the server must hear of it.
        """
        with self._lock:
            self._number += 1
            try:
                found = self._open().execute(
                    "INSERT INTO number(name, value) VALUES ('report', ?)"
                    " ON CONFLICT(name) DO UPDATE SET value = max(value + 1, excluded.value)"
                    " RETURNING value",
                    (self._number,),
                )
                self._number = int(found.fetchall()[0][0])
            except (sqlite3.Error, OSError) as error:
                logger.warning("%s", self._trouble(error))
            return self._number

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._connect()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside()
                self._db = self._connect()
        return self._db

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=2)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA journal_size_limit=262144")
            db.execute("PRAGMA wal_autocheckpoint=32")
            said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if said != "ok":
                raise _DamagedError(said)
            db.executescript(_TABLES)
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _set_aside(self) -> None:
        target = set_aside(self._path)
        notice = f"the journal of updates was damaged and set aside as {target.name}"
        logger.warning("%s", notice)
        self.notices = (*self.notices, notice)

    def _trouble(self, error: sqlite3.Error | OSError) -> StorageError:
        if isinstance(error, sqlite3.DatabaseError) and _is_damage(error):
            self._close()  # the next call opens anew and sets it aside
        return StorageError(f"the journal {self._path} cannot be used: {error}")


class _DamagedError(sqlite3.DatabaseError):
    """``quick_check`` found damage."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, _DamagedError):
        return True
    return isinstance(code, int) and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
