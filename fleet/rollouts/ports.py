"""What the rollouts need from the rest of the server."""

from typing import Protocol

from sqlalchemy import Connection

from edgeops.contracts.update import Probation


class Assignments(Protocol):
    """Says to one slot of one device what it must run."""

    def set_assignment(
        self,
        connection: Connection,
        *,
        device: str,
        slot: str,
        bundle: str,
        rollout: str | None = None,
        attempt: int = 1,
        probation: Probation | None = None,
        downgrade_ok_from: int | None = None,
    ) -> int:
        """Write a signed assignment and its doorbell; return the new generation."""
        ...
