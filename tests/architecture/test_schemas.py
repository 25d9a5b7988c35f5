"""The published JSON Schemas are those of the classes."""

from pathlib import Path

from edgeops.contracts.schemas import documents

FOLDER = Path(__file__).parents[2] / "docs/reference/schemas"


def test_the_committed_schemas_are_current() -> None:
    committed = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert committed == documents(), "run: python -m edgeops.contracts.schemas " + str(FOLDER)
