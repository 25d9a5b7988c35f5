"""Alembic scripts, forward only; run by `fleet.db.migrate`."""
