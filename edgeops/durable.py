"""Files that survive a power cut: write, fsync, rename, fsync the folder."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from edgeops.errors import StorageError


def sync_folder(folder: Path) -> None:
    """Wait until renames and unlinks inside ``folder`` are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Wait until the bytes of ``path`` are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` with ``data``: after a cut it holds the old or the new bytes, whole.

    Raises:
        StorageError: The disk is full, read-only or the folder is missing.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # where nothing can be made, nothing can be removed
            temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def rename(source: Path, target: Path) -> None:
    """Move a synced file or folder into place and sync the folders concerned.

    Raises:
        StorageError: The rename is not possible.
    """
    try:
        source.replace(target)
        sync_folder(target.parent)
        if source.parent != target.parent:
            sync_folder(source.parent)
    except OSError as error:
        raise StorageError(f"cannot move {source} to {target}: {error.strerror}") from error


def switch_link(link: Path, target: str) -> None:
    """Make the symbolic link ``link`` point to ``target`` in one step.

    Raises:
        StorageError: The disk is full or read-only.
    """
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
        sync_folder(link.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # where nothing can be made, nothing can be removed
            temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot switch {link}: {error.strerror or error}") from error


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder below ``folder`` is on disk."""
    for here, _, files in os.walk(folder):
        for name in files:
            sync_file(Path(here) / name)
        sync_folder(Path(here))


def remove_tree(folder: Path) -> None:
    """Remove ``folder`` with all it holds; no error where it is absent."""
    shutil.rmtree(folder, ignore_errors=True)
