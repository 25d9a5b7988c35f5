"""One writer and many readers on one SQLite file.

The writer commits with ``synchronous=FULL``: a device deletes its rows on our word alone. Readers
see the last commit and can change nothing. Statements are SQLAlchemy Core's, so that another
database needs another file like this one and nothing else.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from edgeops.errors import StorageError

T = TypeVar("T")

FILE: Final = "fleet.sqlite"
READERS: Final = 4
BUSY_S: Final = 10.0


def writer_engine(path: Path) -> Engine:
    """Return an engine with one connection whose transactions start with the write lock."""
    return _engine(path, size=1, begin="BEGIN IMMEDIATE", pragmas=("synchronous=FULL",))


def reader_engine(path: Path) -> Engine:
    """Return an engine whose connections cannot change anything."""
    return _engine(path, size=READERS, begin="BEGIN", pragmas=("query_only=ON",))


def _engine(path: Path, *, size: int, begin: str, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
    )

    def prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        # Without this, the driver starts transactions by its own rules and not at our BEGIN.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", *pragmas):
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


class Database:
    """Runs work in a thread: all writes in one, one after the other; reads beside them.

    The functions given get a connection inside an open transaction; it is committed when they
    return and rolled back when they raise.
    """

    def __init__(self, path: Path) -> None:
        self._writer = writer_engine(path)
        self._reader = reader_engine(path)
        self._write_thread = ThreadPoolExecutor(1, "fleet-db-write")
        self._read_threads = ThreadPoolExecutor(READERS, "fleet-db-read")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` returns, after its transaction is on disk.

        Raises:
            StorageError: The database cannot be written; nothing of ``work`` remains.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._write_thread, self.write_here, work
        )

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` reads from one consistent state.

        Raises:
            StorageError: The database cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._read_threads, _run, self._reader, work
        )

    def write_here(self, work: Callable[[Connection], T]) -> T:
        """Do what ``write`` does in the calling thread (start-up and tests)."""
        return _run(self._writer, work)

    def close(self) -> None:
        """Finish the work under way and close every connection."""
        self._write_thread.shutdown()
        self._read_threads.shutdown()
        self._reader.dispose()
        self._writer.dispose()


def _run(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except DBAPIError as error:
        raise StorageError(f"the database says: {error.orig}") from error
