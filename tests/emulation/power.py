"""A device that loses power before a chosen operation: journal, folders, host and server."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from agent.update.folders import Folders, Link
from agent.update.journal import SqliteJournal
from agent.update.record import SlotRecord
from edgeops.trust import Signature


class PowerCutError(Exception):
    """The emulated device has no power; not an EdgeOpsError, so no one catches it."""


@dataclass(slots=True)
class Power:
    """Counts operations and fails before one of them.

    Attributes:
        cut_before: Number of the operation that never happens, from 0; ``None``: none.
    """

    cut_before: int | None = None
    operations: int = 0

    def spend(self) -> None:
        """Do one operation, or lose power instead."""
        if self.cut_before is not None and self.operations >= self.cut_before:
            raise PowerCutError
        self.operations += 1


class CutJournal(SqliteJournal):
    """A real journal on a device that may lose power."""

    def __init__(self, path: Path, power: Power) -> None:
        super().__init__(path)
        self._power = power

    def save(self, record: SlotRecord) -> None:
        self._power.spend()
        super().save(record)


class CutFolders(Folders):
    """Real folders on a device that may lose power."""

    def __init__(self, state_dir: Path, power: Power) -> None:
        super().__init__(state_dir)
        self._power = power

    def point(self, slot: str, link: Link, digest: str | None) -> None:
        if self.linked(slot, link) != digest:
            self._power.spend()
        super().point(slot, link, digest)

    def gather(self, digest: str, manifest: bytes, signatures: Collection[Signature]) -> Path:
        self._power.spend()
        return super().gather(digest, manifest, signatures)

    def settle(self, digest: str) -> None:
        self._power.spend()
        super().settle(digest)

    def tidy(self, in_use: Collection[str]) -> None:
        self._power.spend()
        super().tidy(in_use)
