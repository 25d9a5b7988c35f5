"""What each effect of the table does; the only part of the updater that touches disk and host.

Every step may be repeated after a cut. A step never changes the journal: it returns an outcome,
and the runner writes the next state before the next step.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agent.update.acceptance import ChooseVariant, Objection, weigh
from agent.update.exam import Examine
from agent.update.folders import Folders, Link, check_bundle, needed_files
from agent.update.machine import Event
from agent.update.ports import AssignmentServer, PipelineHost
from agent.update.record import Running, SlotRecord
from agent.update.rules import SlotRule, UpdateRules
from edgeops import bundle as bundles
from edgeops.bundle import Bundle
from edgeops.contracts.manifest import FileRef
from edgeops.contracts.update import Assignment, Reason
from edgeops.errors import (
    ContractError,
    InferenceError,
    StorageError,
    TransportError,
    TrustError,
)
from edgeops.trust import Role, Signature, TrustStore, digest_of

logger = logging.getLogger(__name__)

MAX_DOUBTS: Final = 3
"""Wrong bytes in a row that are put down to a proxy before the bundle is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: the event, the record with what was learnt, and why it failed."""

    event: Event
    record: SlotRecord
    reason: Reason | None = None
    detail: str = ""


class Steps:
    """The effects of one slot.

    Args:
        rule: What the slot expects.
        rules: Limits of this device.
        folders: Bundles and links on disk.
        trust: Public keys.
        server: Where bundles come from.
        host: Runs the pipelines.
        examine: The exam before activation.
        choose: Chooses a variant.
    """

    def __init__(
        self,
        *,
        rule: SlotRule,
        rules: UpdateRules,
        folders: Folders,
        trust: TrustStore,
        server: AssignmentServer,
        host: PipelineHost,
        examine: Examine,
        choose: ChooseVariant,
    ) -> None:
        self._rule = rule
        self._rules = rules
        self._folders = folders
        self._trust = trust
        self._server = server
        self._host = host
        self._examine = examine
        self._choose = choose
        self._doubts = 0

    def read_meta(self, record: SlotRecord) -> Outcome:
        """Fetch manifest and signatures, and weigh the bundle against what the slot expects."""
        given = _given(record)
        try:
            manifest_bytes, signatures = self._metadata(given)
        except (TransportError, TrustError, ContractError) as error:
            return self._passing(record, error)
        try:
            manifest = bundles.parse_manifest(manifest_bytes)
            title = f"{manifest.name} {manifest.version}"
            self._trust.verify(Role.RELEASE, manifest_bytes, signatures, what=f"bundle {title}")
        except (ContractError, TrustError) as error:
            malformed = isinstance(error, ContractError)
            reason = Reason.MALFORMED if malformed else Reason.SIGNATURE
            return Outcome(Event.FAILED, record, reason, str(error))
        variant = weigh(manifest, given, self._rule, record.running, self._choose)
        if isinstance(variant, Objection):
            return Outcome(Event.FAILED, record, variant.reason, variant.detail)
        try:
            self._folders.gather(given.bundle, manifest_bytes, signatures)
        except StorageError as error:
            return Outcome(Event.FAILED, record, Reason.DISK_FULL, str(error))
        self._doubts = 0
        target = Running(
            digest=given.bundle, variant=variant.id, title=title, serial=manifest.serial
        )
        return Outcome(Event.DONE, replace(record, target=target))

    def download(self, record: SlotRecord) -> Outcome:
        """Fetch the files of the chosen variant that are not here yet."""
        target = _target(record)
        if self._whole(target) is not None:
            return Outcome(Event.DONE, record)
        try:
            self._fetch(bundles.open_folder(self._folders.download(target.digest)), target)
        except (TransportError, TrustError) as error:
            return self._passing(record, error)
        except (ContractError, StorageError) as error:
            malformed = isinstance(error, ContractError)
            reason = Reason.MALFORMED if malformed else Reason.DISK_FULL
            return Outcome(Event.FAILED, record, reason, str(error))
        self._doubts = 0
        return Outcome(Event.DONE, record)

    def stage(self, record: SlotRecord) -> Outcome:
        """Check the whole bundle and move it to its address."""
        target = _target(record)
        if self._whole(target) is not None:
            return Outcome(Event.DONE, record)
        self._folders.remove_bundle(target.digest)
        try:
            check_bundle(self._folders.download(target.digest), target.digest, target.variant)
            self._folders.settle(target.digest)
        except (TrustError, ContractError) as error:
            return Outcome(Event.FAILED, record, Reason.DIGEST, str(error))
        except StorageError as error:
            return Outcome(Event.FAILED, record, Reason.DISK_FULL, str(error))
        return Outcome(Event.DONE, record)

    def exam(self, record: SlotRecord) -> Outcome:
        """Examine the bundle in a process of its own; note the labels said until now."""
        target = _target(record)
        result = self._examine(self._folders.bundle(target.digest), target.variant)
        record = replace(record, preflight=result.preflight)
        if result.reason is not None:
            return Outcome(Event.FAILED, record, result.reason, result.detail)
        health = self._host.health(record.slot)
        # The last answers where they are enough: the mix of months tells little of this hour.
        enough = sum(health.recent_counts.values()) >= self._rules.behaviour.min_frames
        labels = health.recent_counts if enough else health.label_counts
        baseline = {} if record.running is None else dict(labels)
        return Outcome(Event.DONE, replace(record, baseline=baseline, came_from=record.running))

    def switch(self, record: SlotRecord) -> Outcome:
        """Point the links, then swap the pipelines."""
        target = _target(record)
        try:
            self._folders.point(record.slot, "previous", _digest(record.came_from))
            self._folders.point(record.slot, "current", target.digest)
        except StorageError as error:
            return Outcome(Event.FAILED, record, Reason.DISK_FULL, str(error))
        outcome = self._activated(record, target)
        return outcome or Outcome(Event.DONE, replace(record, running=target))

    def restore(self, record: SlotRecord) -> Outcome:
        """Swap the pipelines back, then point the link; the pipelines do not wait for the disk."""
        back = record.came_from
        outcome = self._activated(record, back)
        if outcome is not None:
            return outcome
        record = replace(record, running=back)
        try:
            self._folders.point(record.slot, "current", _digest(back))
        except StorageError as error:
            return Outcome(Event.BROKE, record, Reason.DISK_FULL, str(error))
        return Outcome(Event.DONE, replace(record, came_from=None))

    def run_factory(self, record: SlotRecord) -> Outcome:
        """Run the image's own bundle, or leave the slot without one; the device stays reachable."""
        factory = self.factory(record.slot)
        if factory is None or self._activated(record, factory) is not None:
            factory = None
            self._activated(record, None)
        try:
            self._folders.point(record.slot, "current", _digest(factory))
        except StorageError as error:
            logger.warning("slot %s: %s", record.slot, error)
        return Outcome(Event.DONE, replace(record, running=factory, came_from=None))

    def tidy(self, record: SlotRecord, in_use: Callable[[], set[str]]) -> Outcome:
        """Make the links say what the record says, and remove what nothing refers to."""
        try:
            self._folders.point(record.slot, "current", _digest(record.running))
            self._folders.point(record.slot, "previous", _digest(record.previous))
        except StorageError as error:
            logger.warning("slot %s: %s", record.slot, error)
        else:
            self._folders.tidy(in_use())
        return Outcome(Event.DONE, record)

    def revive(self, running: Running | None, slot: str) -> str:
        """Let the pipelines run what they ran before a restart; return why not, or nothing."""
        if running is not None:
            folder = self._folders.bundle(running.digest)
            try:
                check_bundle(folder, running.digest, running.variant, with_golden=False)
            except (TrustError, StorageError, ContractError) as error:
                return f"{running.title} is damaged on disk: {error}"
        path = None if running is None else self._folders.bundle(running.digest)
        try:
            self._host.activate(slot, path, "" if running is None else running.variant)
        except InferenceError as error:
            return f"{running.title if running else 'nothing'} cannot be loaded: {error}"
        return ""

    def linked(self, slot: str) -> tuple[Running | None, Running | None]:
        """Return the best bundle that the links name and that is whole, and the one before it."""
        links: tuple[Link, ...] = ("current", "previous", "factory")
        digests = dict.fromkeys(self._folders.linked(slot, link) for link in links)
        found = [known for digest in digests if digest and (known := self.known(digest))]
        previous = self._folders.linked(slot, "previous")
        before = [known for known in found[1:] if known.digest == previous]
        return (found[0] if found else None, before[0] if before else None)

    def factory(self, slot: str) -> Running | None:
        """Return the bundle that the image brought for a slot, if it is whole."""
        digest = self._folders.linked(slot, "factory")
        return None if digest is None else self.known(digest)

    def known(self, digest: str) -> Running | None:
        """Return what must be known of a bundle on disk, or ``None`` where it is not whole."""
        folder = self._folders.bundle(digest)
        try:
            manifest = bundles.open_folder(folder).manifest
            variant = self._choose(manifest, self._rule)
            check_bundle(folder, digest, variant.id, with_golden=False)
        except (StorageError, ContractError, TrustError, InferenceError) as error:
            logger.warning("bundle %s… is not usable: %s", digest[:19], error)
            return None
        title = f"{manifest.name} {manifest.version}"
        return Running(digest=digest, variant=variant.id, title=title, serial=manifest.serial)

    def _metadata(self, given: Assignment) -> tuple[bytes, Sequence[Signature]]:
        """Return manifest and signatures, from disk where the bundle is here already.

        Raises:
            TransportError: The server cannot be reached.
            TrustError: The manifest sent is not the one assigned.
            ContractError: The answer makes no sense.
        """
        folder = self._folders.bundle(given.bundle)
        if folder.is_dir():
            try:
                found = bundles.open_folder(folder)
            except (StorageError, ContractError) as error:
                logger.warning("bundle %s… is damaged: %s", given.bundle[:19], error)
            else:
                if found.digest == given.bundle:
                    return found.manifest_bytes, found.signatures
        manifest = self._server.manifest(given.bundle)
        if digest_of(manifest) != given.bundle:
            raise TrustError("the manifest sent has not the digest assigned")
        return manifest, self._server.signatures(given.bundle)

    def _whole(self, target: Running) -> Bundle | None:
        folder = self._folders.bundle(target.digest)
        if not folder.is_dir():
            return None
        try:
            return check_bundle(folder, target.digest, target.variant)
        except (StorageError, TrustError, ContractError) as error:
            logger.warning("bundle %s… is not whole: %s", target.digest[:19], error)
            return None

    def _fetch(self, bundle: Bundle, target: Running) -> None:
        variant = bundle.manifest.variant(target.variant)
        if variant is None:
            raise ContractError("manifest.variants", f"{target.variant} is gone")
        files = needed_files(bundle.manifest, variant)
        missing = [ref for ref in files if not _is_here(bundle, ref)]
        for number, ref in enumerate(missing):
            later = sum(other.size_bytes for other in missing[number + 1 :])
            path = bundle.path(ref.file)
            self._server.download(ref, path, keep_free=self._rules.min_free + later)

    def _passing(
        self, record: SlotRecord, error: TransportError | TrustError | ContractError
    ) -> Outcome:
        """Try again; wrong bytes may be a proxy's, but not for ever."""
        if not isinstance(error, TransportError):
            self._doubts += 1
        if self._doubts < MAX_DOUBTS:
            return Outcome(Event.BROKE, record, Reason.NETWORK, str(error))
        self._doubts = 0
        reason = Reason.MALFORMED if isinstance(error, ContractError) else Reason.DIGEST
        return Outcome(Event.FAILED, record, reason, str(error))

    def _activated(self, record: SlotRecord, bundle: Running | None) -> Outcome | None:
        path = None if bundle is None else self._folders.bundle(bundle.digest)
        try:
            self._host.activate(record.slot, path, "" if bundle is None else bundle.variant)
        except InferenceError as error:
            return Outcome(Event.FAILED, record, Reason.LOAD, str(error))
        return None


def _is_here(bundle: Bundle, ref: FileRef) -> bool:
    if not bundle.path(ref.file).exists():
        return False
    try:
        bundles.check_file(bundle.folder, ref)
    except (StorageError, TrustError):
        bundle.path(ref.file).unlink(missing_ok=True)
        return False
    return True


def _digest(running: Running | None) -> str | None:
    return None if running is None else running.digest


def _given(record: SlotRecord) -> Assignment:
    if record.assignment is None:
        raise ContractError(f"journal.{record.slot}", f"{record.state} without an assignment")
    return record.assignment


def _target(record: SlotRecord) -> Running:
    if record.target is None:
        raise ContractError(f"journal.{record.slot}", f"{record.state} without a target")
    return record.target
