"""Names for what SQLite says about the disk."""

import sqlite3
from typing import Final

_CAUSES: Final = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "readonly",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_PERM: "readonly",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
}


class DamagedError(sqlite3.DatabaseError):
    """The file opens and is yet not a whole outbox of this release."""


def cause_of(error: sqlite3.Error) -> str:
    """Return one word for the cause, from SQLite's primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    return _CAUSES.get(code & 0xFF, "other") if isinstance(code, int) else "other"


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the database itself is damaged, rather than the disk unwilling."""
    if isinstance(error, DamagedError) or cause_of(error) == "damaged":
        return True
    # A table or column is missing from a file that claims to be ours.
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
