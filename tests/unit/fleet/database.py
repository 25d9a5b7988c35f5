"""A migrated database in a temporary folder, and a clock that a test moves."""

from collections.abc import Iterator
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
