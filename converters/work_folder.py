"""A hidden folder beside what a conversion writes; what a killed one left is removed later."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from converters.interruption import undisturbed
from edgeops.durable import remove_tree
from edgeops.errors import StorageError

_PREFIX: Final = ".making."
_UNBORN: Final = ".new."
_LOCK: Final = "lock"


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """Yield a folder in ``out`` that is gone afterwards, whatever happens.

    Its lock lasts as long as this process: where nobody holds one, a conversion was killed, and
    the next one cleans up. ``out`` is made if it is missing.

    Raises:
        StorageError: ``out`` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out)
        work, lock = _locked_folder(out)
    except OSError as error:
        raise StorageError(f"cannot write into {out}: {error.strerror or error}") from error
    try:
        yield work
    finally:
        with undisturbed():
            remove_tree(work)
            os.close(lock)


def _locked_folder(out: Path) -> tuple[Path, int]:
    """Return a new folder and its lock; it gets its name when the lock is held."""
    name = secrets.token_hex(4)
    unborn = out / f"{_UNBORN}{name}"
    unborn.mkdir()
    try:
        lock = os.open(unborn / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        work = unborn.rename(out / f"{_PREFIX}{name}")
    except BaseException:
        remove_tree(unborn)
        raise
    return work, lock


def _remove_abandoned(out: Path) -> None:
    for folder in sorted(out.glob(f"{_PREFIX}*")):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue  # no lock, or not ours: not for us to judge
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
        except BlockingIOError:
            continue  # a conversion is running
        finally:
            os.close(lock)
