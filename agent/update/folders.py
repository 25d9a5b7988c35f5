"""Bundles and slots on disk: whole bundles under their digest, a link for what runs.

bundles/<hex64>/            manifest.json, signatures/, the chosen variant, golden samples
slots/<slot>/current        -> ../../bundles/<hex64>, replaced by rename
slots/<slot>/previous       likewise; what was committed before
slots/<slot>/factory        likewise, where the image brought one
downloads/<hex64>/          a bundle on its way in
"""

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal

from edgeops import bundle as bundles
from edgeops.bundle import Bundle
from edgeops.codec import canonical
from edgeops.contracts.manifest import FileRef, Manifest, Variant
from edgeops.durable import (
    remove_tree,
    rename,
    switch_link,
    sync_folder,
    sync_tree,
    write_atomic,
)
from edgeops.errors import StorageError
from edgeops.trust import Signature

logger = logging.getLogger(__name__)

Link = Literal["current", "previous", "factory"]

_HEX: Final = re.compile(r"[0-9a-f]{64}")


class Folders:
    """The updater's part of the state directory.

    Args:
        state_dir: The agent's; the folders are made where absent.
    """

    def __init__(self, state_dir: Path) -> None:
        self._bundles = state_dir / "bundles"
        self._slots = state_dir / "slots"
        self._downloads = state_dir / "downloads"

    def bundle(self, digest: str) -> Path:
        """Return where a whole bundle is, or will be."""
        return self._bundles / digest.removeprefix("sha256:")

    def download(self, digest: str) -> Path:
        """Return where a bundle is gathered."""
        return self._downloads / digest.removeprefix("sha256:")

    def linked(self, slot: str, link: Link) -> str | None:
        """Return the digest that a link of a slot names, or ``None``."""
        path = self._slots / slot / link
        try:
            name = path.readlink().name
        except OSError:
            return None
        return f"sha256:{name}" if _HEX.fullmatch(name) else None

    def point(self, slot: str, link: Link, digest: str | None) -> None:
        """Make a link of a slot name a bundle, or nothing, in one step.

        Raises:
            StorageError: The disk is full or read-only.
        """
        if self.linked(slot, link) == digest:
            return
        folder = self._slots / slot
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if digest is None:
                (folder / link).unlink(missing_ok=True)
                sync_folder(folder)
                return
        except OSError as error:
            raise StorageError(f"cannot use {folder}: {error.strerror or error}") from error
        switch_link(folder / link, f"../../bundles/{digest.removeprefix('sha256:')}")

    def gather(self, digest: str, manifest: bytes, signatures: Collection[Signature]) -> Path:
        """Write a bundle's metadata where it is gathered; return that folder.

        Raises:
            StorageError: The disk is full or read-only.
        """
        folder = self.download(digest)
        try:
            (folder / bundles.SIGNATURES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {folder}: {error.strerror or error}") from error
        write_atomic(folder / bundles.MANIFEST, manifest)
        for signature in signatures:
            if re.fullmatch(r"[0-9a-f]{16}", signature.keyid):
                path = folder / bundles.SIGNATURES / f"{signature.keyid}.json"
                write_atomic(path, canonical(signature))
        return folder

    def settle(self, digest: str) -> None:
        """Move a gathered bundle to its address once it is on disk as a whole.

        Raises:
            StorageError: The disk does not let us.
        """
        source, target = self.download(digest), self.bundle(digest)
        try:
            sync_tree(source)
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot sync {source}: {error.strerror or error}") from error
        rename(source, target)

    def remove_bundle(self, digest: str) -> None:
        """Remove a bundle that is damaged."""
        remove_tree(self.bundle(digest))

    def tidy(self, in_use: Collection[str]) -> None:
        """Remove every bundle and download that is not in use."""
        kept = {digest.removeprefix("sha256:") for digest in in_use}
        for folder in (self._bundles, self._downloads):
            if not folder.is_dir():
                continue
            for path in folder.iterdir():
                if path.name not in kept:
                    logger.info("removing %s", path)
                    remove_tree(path)


def needed_files(manifest: Manifest, variant: Variant) -> tuple[FileRef, ...]:
    """Return the files that this device takes: one variant and the golden samples."""
    model = FileRef(file=variant.file, sha256=variant.sha256, size_bytes=variant.size_bytes)
    golden = manifest.golden
    return (model,) if golden is None else (model, golden.samples, golden.expected)


def check_bundle(folder: Path, digest: str, variant_id: str, *, with_golden: bool = True) -> Bundle:
    """Return a bundle on disk once the files that this device takes are right.

    Args:
        folder: Of the bundle.
        digest: Of its manifest.
        variant_id: The variant that this device takes.
        with_golden: Also check the golden samples. A bundle that was examined before answers
            without them; their decay is no reason to stop a working device.

    Raises:
        StorageError: Something is missing.
        TrustError: A digest differs.
        ContractError: The manifest is damaged.
    """
    found = bundles.open_folder(folder)
    variant = found.manifest.variant(variant_id)
    if found.digest != digest or variant is None:
        raise StorageError(f"{folder} does not hold {digest[:19]}… with {variant_id}")
    files = needed_files(found.manifest, variant)
    for ref in files if with_golden else files[:1]:
        bundles.check_file(folder, ref)
    return found
