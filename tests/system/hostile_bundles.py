"""Bundles that nobody should let in, made from one good bundle."""

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from edgeops import bundle as bundles
from edgeops.bundle import Bundle
from edgeops.testing.bundles import make_bundle
from edgeops.testing.models import COLOR_INPUT, COLOR_TASK, color_classifier
from edgeops.trust import SigningKey

Member: TypeAlias = tuple[str, bytes]
Maker: TypeAlias = Callable[[Path, bytes], object]
GIGABYTE: Final = 1 << 30


def color_bundle(folder: Path, key: SigningKey, *, serial: int = 1) -> Bundle:
    """Write a good, signed bundle of a colour classifier."""
    return make_bundle(
        folder,
        task=COLOR_TASK,
        input=COLOR_INPUT,
        key=key,
        onnx_path=color_classifier(folder.with_suffix(".onnx")),
        version=f"{serial}.0.0",
        serial=serial,
    )


@dataclass(frozen=True, slots=True)
class Forge:
    """Writes damaged and hostile forms of a good bundle into a folder."""

    good: Bundle
    folder: Path

    def make(self, kind: str) -> Path:
        """Return the path of the hostile bundle ``kind``, a key of ``KINDS`` or ``FOLDERS``."""
        if kind in FOLDERS:
            path = self.folder / kind
            shutil.copytree(self.good.folder, path)
            FOLDERS[kind](path)
            return path
        path = self.folder / f"{kind}.edgeops"
        KINDS[kind](path, bundles.tar_bytes(self.good))
        return path


def _members(data: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def _write(
    path: Path, members: Sequence[Member], *, pax: dict[str, str] | None = None, kind: bytes = b"0"
) -> None:
    """Write a tar; ``pax`` and ``kind`` go to its last member."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name == members[-1][0]:
                info.type = kind
                info.linkname = "" if kind == tarfile.REGTYPE else "/etc/passwd"
                info.pax_headers = pax or {}
            tar.addfile(info, io.BytesIO(data))


def _tar(change: Callable[[list[Member]], list[Member]]) -> Maker:
    return lambda path, data: _write(path, change(_members(data)))


def _with_pax(**headers: str) -> Maker:
    # The manifest last but one, so that the extended header is met at the very start.
    return lambda path, data: _write(path, _members(data)[:1], pax=headers)


def _manifest(**changes: object) -> Maker:
    def write(path: Path, data: bytes) -> None:
        members = _members(data)
        manifest = json.loads(members[0][1]) | changes
        _write(path, [(members[0][0], json.dumps(manifest).encode()), *members[1:]])

    return write


def _first_variant(**changes: object) -> Maker:
    def write(path: Path, data: bytes) -> None:
        variant = json.loads(_members(data)[0][1])["variants"][0] | changes
        _manifest(variants=[variant])(path, data)

    return write


def _bomb(kind: bytes) -> Maker:
    def write(path: Path, _data: bytes) -> None:
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 3 * GIGABYTE
        with path.open("wb") as file:
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            file.truncate(3 * GIGABYTE)  # sparse: costs no disk

    return write


def _flipped(members: list[Member]) -> list[Member]:
    return [
        (name, data[:-1] + bytes([data[-1] ^ 1]) if name.endswith(".onnx") else data)
        for name, data in members
    ]


KINDS: Final[dict[str, Maker]] = {
    "empty": lambda path, _: path.touch(),
    "text": lambda path, _: path.write_text("hello\n" * 500),
    "picture": lambda path, _: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(5000)),
    "zeros": lambda path, _: path.write_bytes(bytes(20_480)),
    "compressed": lambda path, data: path.write_bytes(gzip.compress(data)),
    "truncated": lambda path, data: path.write_bytes(data[: len(data) // 2]),
    "traversal": _tar(lambda all_: [all_[0], ("../evil", b"x"), *all_[1:]]),
    "absolute": _tar(lambda all_: [all_[0], ("/tmp/edgeops-evil", b"x"), *all_[1:]]),
    "backslash": _tar(lambda all_: [all_[0], ("..\\evil", b"x"), *all_[1:]]),
    "escape-codes": _tar(lambda all_: [all_[0], ("a\x1b[2Jb\nc", b"x"), *all_[1:]]),
    "stowaway": _tar(lambda all_: [*all_, ("run.sh", b"x")]),
    "twice": _tar(lambda all_: [*all_, all_[-1]]),
    "file-missing": _tar(lambda all_: [m for m in all_ if not m[0].endswith(".onnx")]),
    "manifest-not-first": _tar(lambda all_: [*all_[1:], all_[0]]),
    "manifest-10-mb": _tar(lambda all_: [(all_[0][0], b" " * 10_000_000), *all_[1:]]),
    "manifest-not-json": _tar(lambda all_: [(all_[0][0], b'{"name": '), *all_[1:]]),
    "symlink": lambda path, data: _write(
        path, [_members(data)[0], ("x", b"")], kind=tarfile.SYMTYPE
    ),
    "device-file": lambda path, data: _write(
        path, [_members(data)[0], ("x", b"")], kind=tarfile.CHRTYPE
    ),
    "negative-size": _with_pax(size="-5"),
    "sparse-map": _with_pax(
        **{"GNU.sparse.map": "x,y", "GNU.sparse.major": "0", "GNU.sparse.size": "3"}
    ),
    "pax-of-3-gb": _bomb(tarfile.XHDTYPE),
    "name-of-3-gb": _bomb(tarfile.GNUTYPE_LONGNAME),
    "path-outside": _first_variant(file="../../etc/passwd"),
    "size-of-a-galaxy": _first_variant(size_bytes=10**30),
    "serial-below-1": _manifest(serial=-1),
    "no-labels": _manifest(task={"type": "classification", "labels": []}),
    "no-variants": _manifest(variants=[]),
    "signature-of-nothing": _tar(
        lambda all_: [(n, b"{}" if n.startswith("signatures/") else d) for n, d in all_]
    ),
    "digest-mismatch": _tar(_flipped),
    "pipe": lambda path, _: os.mkfifo(path),
}
"""How each packed bundle is made from the good one's bytes."""


def _each_model(folder: Path, change: Callable[[Path], object]) -> None:
    for path in folder.glob("*.onnx"):
        change(path)


def _pipe_for_manifest(folder: Path) -> None:
    (folder / bundles.MANIFEST).unlink()
    os.mkfifo(folder / bundles.MANIFEST)


FOLDERS: Final[dict[str, Callable[[Path], None]]] = {
    "folder-without-manifest": lambda folder: (folder / bundles.MANIFEST).unlink(),
    "folder-without-model": lambda folder: _each_model(folder, Path.unlink),
    "folder-with-half-a-model": lambda folder: _each_model(
        folder, lambda path: path.write_bytes(path.read_bytes()[:100])
    ),
    "folder-with-a-pipe": _pipe_for_manifest,
}

TRUST: Final = frozenset({"digest-mismatch", "folder-with-half-a-model"})
STORAGE: Final = frozenset({"pipe", *FOLDERS} - TRUST)


def expected_status(kind: str) -> int:
    """Return 77 for bytes that differ, 74 for what cannot be read, 65 for all other damage."""
    if kind in TRUST:
        return 77
    return 74 if kind in STORAGE else 65
