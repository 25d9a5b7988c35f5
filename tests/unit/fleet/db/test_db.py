"""The schema that migrations make, and what one writer and many readers promise."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, text

from edgeops.errors import StorageError
from fleet.db import migrate
from fleet.db.engine import Database, writer_engine
from fleet.db.schema import counter, metadata


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "fleet.sqlite"
    engine = writer_engine(path)
    migrate.upgrade(engine)
    engine.dispose()
    database = Database(path)
    yield database
    database.close()


def test_migrations_make_exactly_the_declared_schema(tmp_path: Path) -> None:
    engine = writer_engine(tmp_path / "fleet.sqlite")

    before, head = migrate.upgrade(engine)

    with engine.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert before is None
    assert head
    assert differences == []


def test_second_upgrade_changes_nothing(tmp_path: Path) -> None:
    engine = writer_engine(tmp_path / "fleet.sqlite")
    _, head = migrate.upgrade(engine)

    assert migrate.upgrade(engine) == (head, head)
    engine.dispose()


def test_database_of_a_newer_release_is_refused_in_one_sentence(tmp_path: Path) -> None:
    engine = writer_engine(tmp_path / "fleet.sqlite")
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StorageError, match="another release"):
        migrate.upgrade(engine)
    engine.dispose()


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.sqlite"
    path.write_bytes(b"not a database at all, but long enough to have a header" * 20)
    engine = writer_engine(path)

    with pytest.raises(StorageError, match="not a database"):
        migrate.upgrade(engine)
    engine.dispose()


def test_work_that_raises_leaves_nothing(database: Database) -> None:
    def half(connection: Connection) -> None:
        connection.execute(insert(counter).values(name="x", value=1))
        raise StorageError("stopped half way")

    with pytest.raises(StorageError, match="half way"):
        asyncio.run(database.write(half))

    count = select(func.count()).select_from(counter)
    assert asyncio.run(database.read(lambda c: c.execute(count).scalar_one())) == 0


def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(StorageError, match="readonly"):
        asyncio.run(database.read(lambda c: c.execute(insert(counter).values(name="x", value=1))))


def test_commits_are_synchronous_and_visible_to_a_foreign_reader(
    database: Database, tmp_path: Path
) -> None:
    level = asyncio.run(
        database.write(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar_one())
    )
    asyncio.run(database.write(lambda c: c.execute(insert(counter).values(name="x", value=7))))

    other = sqlite3.connect(tmp_path / "fleet.sqlite")
    rows = other.execute("SELECT name, value FROM counter").fetchall()
    other.close()
    assert level == 2  # FULL
    assert rows == [("x", 7)]
