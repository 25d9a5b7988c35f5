"""SQLite files that turned out damaged: set aside under a new name, for people to look at."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from edgeops.durable import sync_folder

KEPT_COPIES: Final = 2
"""Older copies go: the disk is bounded."""

_SIDE_FILES: Final = ("-wal", "-shm", "")


def set_aside(path: Path, *, mark: bool = False) -> Path:
    """Rename a database with its side files; return its new path.

    Args:
        path: The database.
        mark: Leave a mark (see ``marked``) that stands before the rename, so that a cut in
            between does not lose what is still to be done with the copy.

    Raises:
        OSError: The disk does not let us.
    """
    number = max((_number(copy) for copy in _copies(path)), default=0) + 1
    target = path.with_name(f"{path.name}.corrupt-{number}")
    if mark:
        _mark(target).touch()
    for side in _SIDE_FILES:
        with suppress(FileNotFoundError):
            Path(f"{path}{side}").replace(f"{target}{side}")
    sync_folder(path.parent)
    for old in sorted(_copies(path), key=_number)[:-KEPT_COPIES]:
        for side in _SIDE_FILES:
            Path(f"{old}{side}").unlink(missing_ok=True)
        _mark(old).unlink(missing_ok=True)
    return target


def marked(path: Path) -> Path | None:
    """Return the newest copy of ``path`` that still bears its mark."""
    waiting = [copy for copy in _copies(path) if _mark(copy).exists()]
    return max(waiting, key=_number, default=None)


def unmark(copy: Path) -> None:
    """Remove the mark: all is done that was to be done with this copy."""
    _mark(copy).unlink(missing_ok=True)


def _copies(path: Path) -> list[Path]:
    return [copy for copy in path.parent.glob(f"{path.name}.corrupt-*") if _number(copy)]


def _number(copy: Path) -> int:
    tail = copy.name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def _mark(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.unsalvaged")
