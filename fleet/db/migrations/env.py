"""Run by Alembic; the connection comes from `fleet.db.migrate`, already in a transaction."""

from alembic import context

import fleet.db.rollout_tables  # noqa: F401  # adds its tables to the metadata
from fleet.db.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction holds all migrations together
)
context.run_migrations()
