"""Brings the database file to this release's schema before anything else touches it."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from edgeops.errors import StorageError

SCRIPTS: Final = Path(__file__).parent / "migrations"


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Apply the missing migrations; return the revision before and after.

    Raises:
        StorageError: The file is not a database, cannot be written, or was made by a newer
            release.
    """
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head() or ""
    try:
        with engine.begin() as connection:
            before = MigrationContext.configure(connection).get_current_revision()
            if before != head:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except DBAPIError as error:
        raise StorageError(
            f"cannot open the database {engine.url.database}: {error.orig}"
        ) from error
    except CommandError as error:
        raise StorageError(
            f"the database {engine.url.database} was made by another release: {error}"
        ) from error
    return before, head
