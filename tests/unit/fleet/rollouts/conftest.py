"""A simulated fleet per test, on a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.fleet.rollouts.simulated import Fleet


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    simulated = Fleet(Path(":memory:"))
    yield simulated
    simulated.close()
