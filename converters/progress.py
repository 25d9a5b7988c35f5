"""How far a conversion is: what the steps tell, whoever shows it."""

from typing import Protocol


class Progress(Protocol):
    """Takes what a step knows about its own length."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage and end the one before.

        Args:
            name: A few words, such as ``calibrating``.
            total: How many parts it has; ``None`` where nobody knows.
        """
        ...

    def advance(self, count: int = 1) -> None:
        """Say that so many more parts of the stage are done."""
        ...


class Unseen:
    """Progress that nobody looks at."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage."""

    def advance(self, count: int = 1) -> None:
        """Say that parts of the stage are done."""
