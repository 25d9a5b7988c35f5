"""A server that is a folder of bundles: the updater's view of one, without a network."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from edgeops import codec
from edgeops.bundle import Bundle
from edgeops.contracts.manifest import FileRef
from edgeops.contracts.update import Assignment
from edgeops.errors import StorageError, TransportError
from edgeops.trust import ASSIGNMENT_TYPE, Envelope, Signature, SigningKey
from tests.emulation.power import Power


@dataclass(slots=True)
class BundleSource:
    """Implements ``AssignmentServer``.

    Attributes:
        director: Signs the assignments.
        failures: How many of the next calls fail as a lost network does.
    """

    director: SigningKey
    power: Power = field(default_factory=Power)
    bundles: dict[str, Bundle] = field(default_factory=dict)
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    failures: int = 0
    downloads: list[str] = field(default_factory=list)

    def publish(self, *bundles: Bundle) -> None:
        self.bundles.update({bundle.digest: bundle for bundle in bundles})

    def assign(self, assignment: Assignment, *, key: SigningKey | None = None) -> None:
        envelope = (key or self.director).seal(ASSIGNMENT_TYPE, codec.canonical(assignment))
        self.envelopes[assignment.slot] = envelope

    def assignments(self) -> tuple[Envelope, ...]:
        self._connect()
        return tuple(self.envelopes.values())

    def manifest(self, digest: str) -> bytes:
        self._connect()
        return self.bundles[digest].manifest_bytes

    def signatures(self, digest: str) -> tuple[Signature, ...]:
        self._connect()
        return self.bundles[digest].signatures

    def download(self, ref: FileRef, target: Path, *, keep_free: int = 0) -> None:
        self._connect()
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < keep_free:
            raise StorageError("no space")
        self.power.spend()
        for bundle in self.bundles.values():
            if ref in bundle.manifest.files():
                shutil.copyfile(bundle.path(ref.file), target)
                self.downloads.append(ref.file)
                return
        raise TransportError(f"no bundle has {ref.file}")

    def cancel(self) -> None:
        pass

    def _connect(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise TransportError("no network")
