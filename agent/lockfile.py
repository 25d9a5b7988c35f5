"""One agent per state directory."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edgeops.errors import StorageError


@contextlib.contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the directory for this process; the kernel lets go of it however the process ends.

    Raises:
        StorageError: It cannot be made or opened, or another agent holds it.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = _opened(state_dir)
    except OSError as error:
        raise StorageError(f"cannot use {state_dir}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(f"another agent is running on {state_dir}") from error
        yield
    finally:
        os.close(descriptor)


def _opened(state_dir: Path) -> int:
    """Open the lock's file; where the disk refuses a new one the folder itself serves.

    A card that went read-only or full is no reason to stop watching.
    """
    try:
        return os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.ENOSPC, errno.EDQUOT}:
            raise
    try:
        return os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
