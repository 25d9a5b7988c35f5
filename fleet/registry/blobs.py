"""Files by their SHA-256 in one folder tree; written once, never changed."""

import os
import secrets
import shutil
from pathlib import Path

from edgeops.durable import rename, sync_file, sync_folder
from edgeops.errors import StorageError, TrustError
from edgeops.trust import file_sha256


class BlobStore:
    """``root/ab/<sha256>``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, sha256: str) -> Path:
        """Return where a blob stands (or would)."""
        return self._root / sha256[:2] / sha256

    def add(self, source: Path, sha256: str) -> None:
        """Copy a file in under its digest; no effect where it stands already.

        Raises:
            StorageError: Not readable, or the disk is full.
            TrustError: The bytes copied have another digest.
        """
        target = self.path(sha256)
        if target.exists():
            return
        temporary = target.with_name(f".{sha256[:16]}.{secrets.token_hex(4)}.tmp")
        try:
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True, mode=0o700)
                sync_folder(self._root)
            shutil.copyfile(source, temporary)
            sync_file(temporary)
            if (found := file_sha256(temporary)) != sha256:
                raise TrustError(f"{source.name} has the digest {found[:12]}…, not {sha256[:12]}…")
            temporary.chmod(0o400)
            rename(temporary, target)
        except OSError as error:
            raise StorageError(f"cannot store {source.name}: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Return what an ordinary user can still write there."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
