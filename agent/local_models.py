"""Bundles that stand on this disk, for devices without a fleet."""

from pathlib import Path

from edgeops.bundle import SUFFIX, Bundle, open_folder, unpack, verify
from edgeops.durable import remove_tree
from edgeops.errors import StorageError
from edgeops.trust import TrustStore, file_sha256


def open_local(path: Path, workdir: Path, trust: TrustStore | None) -> Bundle:
    """Return the bundle at ``path``, verified; a packed one is unpacked below ``workdir``.

    Args:
        path: Bundle folder or ``.edgeops`` file.
        workdir: Keeps the unpacked bundle, named after the file's digest.
        trust: Release keys to trust; ``None``: the digests alone are checked.

    Raises:
        StorageError, ContractError, TrustError: See ``edgeops.bundle``.
    """
    if path.suffix != SUFFIX or path.is_dir():
        bundle = open_folder(path)
        verify(bundle, trust)
        return bundle
    if not path.is_file():  # a pipe would block for ever
        raise StorageError(f"cannot read {path}: no such bundle folder or file")
    folder = _unpacked_name(path, workdir)
    if not folder.is_dir():
        workdir.mkdir(parents=True, exist_ok=True)
        unpack(path, folder)
    bundle = open_folder(folder)
    verify(bundle, trust)
    _forget_others(workdir, keep=folder, stem=path.stem)
    return bundle


def _unpacked_name(path: Path, workdir: Path) -> Path:
    return workdir / f"{path.stem}-{file_sha256(path)[:16]}"


def _forget_others(workdir: Path, *, keep: Path, stem: str) -> None:
    """Remove what earlier contents of the same file left behind."""
    for other in workdir.glob(f"{stem}-????????????????"):
        if other != keep:
            remove_tree(other)
