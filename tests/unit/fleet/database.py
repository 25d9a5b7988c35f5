"""A migrated database in a temporary folder, and a clock that a test moves."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.db import migrate
from fleet.db.engine import Database, writer_engine


class SetClock:
    """Both clocks stand still until a test moves them."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def wall(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


async def until(condition: Callable[[], bool]) -> None:
    """Give other tasks their turns until ``condition`` holds; fails after ten seconds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within ten seconds")


@contextmanager
def migrated(folder: Path) -> Iterator[Database]:
    path = folder / "fleet.sqlite"
    engine = writer_engine(path)
    migrate.upgrade(engine)
    engine.dispose()
    database = Database(path)
    try:
        yield database
    finally:
        database.close()
