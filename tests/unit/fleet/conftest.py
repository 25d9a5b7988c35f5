"""Fixtures of the server's own tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.db.engine import Database
from tests.unit.fleet.database import migrated


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A migrated, empty database."""
    with migrated(tmp_path) as opened:
        yield opened
