"""What the updater needs from the rest of the agent and from the server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgeops.contracts.manifest import FileRef
from edgeops.errors import EdgeOpsError
from edgeops.trust import Envelope, Signature


class StoppingError(EdgeOpsError):
    """The agent is ending: a swap was cut short, which says nothing about the bundle."""

    code = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotHealth:
    """How the pipelines of one slot have done since the last ``activate``.

    Attributes:
        elapsed_s: Monotonic seconds since then.
        frames: Inferences answered.
        errors: Inferences that raised.
        bad_outputs: Answers that hold NaN or never change.
        restarts: Crashes of the slot's pipelines.
        p95_ms: 95th percentile of one inference; 0 where nothing was measured.
        label_counts: How often each label was the answer.
        recent_counts: The same over the last answers only; what a new bundle is compared with.
    """

    elapsed_s: float
    frames: int = 0
    errors: int = 0
    bad_outputs: int = 0
    restarts: int = 0
    p95_ms: float = 0.0
    label_counts: Mapping[str, int] = field(default_factory=dict)
    recent_counts: Mapping[str, int] = field(default_factory=dict)


class PipelineHost(Protocol):
    """Runs the pipelines of every slot."""

    def activate(self, slot: str, bundle: Path | None, variant: str) -> None:
        """Swap the bundle of all pipelines of ``slot`` between two frames.

        ``None`` leaves the slot without a model: its pipelines wait.

        Raises:
            InferenceError: The model could not be loaded; the old one keeps running.
            StoppingError: The agent is ending.
        """
        ...

    def health(self, slot: str) -> SlotHealth:
        """Return how the slot has done since the last ``activate``."""
        ...


class AssignmentServer(Protocol):
    """The device side of the fleet server; see ``agent.server`` for the HTTP client."""

    def assignments(self) -> tuple[Envelope, ...]:
        """Return the signed assignments of this device, one per slot.

        Raises:
            TransportError: Not reachable, or not willing; try again later.
            ContractError: The answer is not what the contract says.
        """
        ...

    def manifest(self, digest: str) -> bytes:
        """Return the manifest's bytes as stored; errors as for ``assignments``."""
        ...

    def signatures(self, digest: str) -> tuple[Signature, ...]:
        """Return the release signatures of a bundle; errors as for ``assignments``."""
        ...

    def download(self, ref: FileRef, target: Path, *, keep_free: int = 0) -> None:
        """Fetch one file to ``target``, going on where an earlier attempt stopped.

        Args:
            ref: Length and digest; never more bytes than that are read.
            target: Written only once the whole digest is right.
            keep_free: Bytes that must stay free on the disk.

        Raises:
            TransportError: Interrupted; what has arrived is kept for the next attempt.
            TrustError: The bytes are not those of ``ref``; nothing is kept.
            StorageError: No space, or the disk cannot be written.
        """
        ...

    def cancel(self) -> None:
        """Let a running ``download`` end soon with ``TransportError``; from any thread."""
        ...
