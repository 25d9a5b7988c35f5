"""The folder of real models and data: ``EDGEOPS_DATA``, or ``../shared/data`` by the checkout."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("EDGEOPS_DATA", CHECKOUT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real data at {folder} (set EDGEOPS_DATA)")
    return folder
