"""Bundles on disk and in one file: written, packed, unpacked and verified.

A bundle is a folder with ``manifest.json``, ``signatures/`` and the files that the manifest
addresses by SHA-256; ``measurements.json`` beside the manifest stands outside the digest. The
same as one file is an uncompressed tar (``.edgeops``) with sorted members, no times, no owners:
the same input gives the same bytes. Nothing in a foreign tar is trusted: names, sizes and kinds
are checked before a byte is written.
"""

import contextlib
import io
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from edgeops import codec
from edgeops.contracts.manifest import FileRef, Manifest
from edgeops.durable import remove_tree, rename, sync_tree, write_atomic
from edgeops.errors import ContractError, StorageError, TrustError
from edgeops.tar_headers import refuse_foreign_headers
from edgeops.trust import Role, Signature, SigningKey, TrustStore, digest_of, file_sha256

MANIFEST: Final = "manifest.json"
MEASUREMENTS: Final = "measurements.json"
SIGNATURES: Final = "signatures"
SUFFIX: Final = ".edgeops"

MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_SIGNATURE_BYTES: Final = 8 * 1024
MAX_SIGNATURES: Final = 16
MAX_MEMBERS: Final = 256
MAX_BUNDLE_BYTES: Final = 2 << 30
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in a folder, its manifest read but not yet trusted (see ``verify``).

    Attributes:
        digest: ``sha256:…`` of the manifest's bytes: the bundle's address.
    """

    folder: Path
    manifest: Manifest
    manifest_bytes: bytes
    signatures: tuple[Signature, ...]

    @property
    def digest(self) -> str:
        """Return the bundle's address."""
        return digest_of(self.manifest_bytes)

    @property
    def title(self) -> str:
        """Return name and version for people."""
        return f"{self.manifest.name} {self.manifest.version}"

    def path(self, name: str) -> Path:
        """Return the path of one of the manifest's files."""
        return self.folder / name


def open_folder(folder: Path) -> Bundle:
    """Read the manifest and signatures of a bundle folder; no file is checked yet.

    Raises:
        StorageError: The folder or its manifest cannot be read.
        ContractError: The manifest breaks its contract.
    """
    if folder.is_dir() and not (folder / MANIFEST).exists():
        raise StorageError(f"{folder} is no bundle folder: it holds no {MANIFEST}")
    data = _read_limited(folder / MANIFEST, MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data)
    return Bundle(folder, manifest, data, _read_signatures(folder / SIGNATURES))


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in ``data``; raises ``ContractError`` with the place."""
    return codec.decode(data, Manifest, where="manifest", limit=MAX_MANIFEST_BYTES)


def parse_signature(data: bytes) -> Signature:
    """Return one signature file's content; raises ``ContractError``."""
    return codec.decode(data, Signature, where="signature", limit=MAX_SIGNATURE_BYTES)


def check_file(folder: Path, ref: FileRef) -> None:
    """Check one file of a bundle against its manifest.

    Raises:
        StorageError: It is missing or unreadable.
        TrustError: Its length or digest differs.
    """
    path = folder / ref.file
    try:
        size = path.stat().st_size
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if size != ref.size_bytes:
        raise TrustError(f"{ref.file} is {size} bytes long, the manifest says {ref.size_bytes}")
    if (found := file_sha256(path)) != ref.sha256:
        raise TrustError(f"{ref.file} has the digest {found[:12]}…, not {ref.sha256[:12]}…")


def verify(bundle: Bundle, trust: TrustStore | None, *, files: bool = True) -> str:
    """Check signature and files; return the id of the release key that signed.

    Args:
        bundle: What to check.
        trust: Keys to trust; ``None`` checks the digests alone and returns an empty id.
        files: Also check every file's length and digest.

    Raises:
        TrustError: No trusted release key signed it, or a digest differs.
        StorageError: A file is missing.
    """
    keyid = ""
    if trust is not None:
        keyid = trust.verify(
            Role.RELEASE, bundle.manifest_bytes, bundle.signatures, what=f"bundle {bundle.title}"
        )
    if files:
        for ref in bundle.manifest.files():
            check_file(bundle.folder, ref)
    return keyid


def write_manifest(folder: Path, manifest: Manifest, key: SigningKey) -> Bundle:
    """Write and sign the manifest of a folder that already holds its files.

    Raises:
        StorageError: The disk is full or read-only.
        TrustError: A file is not what the manifest says.
    """
    for ref in manifest.files():
        check_file(folder, ref)
    write_atomic(folder / MANIFEST, codec.canonical(manifest))
    bundle = open_folder(folder)
    return sign(bundle, key)


def sign(bundle: Bundle, key: SigningKey) -> Bundle:
    """Add a release signature beside those that stand; return the bundle as it is now."""
    signature = key.sign(bundle.manifest_bytes)
    folder = bundle.folder / SIGNATURES
    folder.mkdir(exist_ok=True)
    write_atomic(folder / f"{signature.keyid}.json", codec.canonical(signature))
    return open_folder(bundle.folder)


def file_ref(folder: Path, name: str) -> FileRef:
    """Return the reference to a file that stands in ``folder``."""
    path = folder / name
    return FileRef(file=name, sha256=file_sha256(path), size_bytes=path.stat().st_size)


def pack(bundle: Bundle, target: Path) -> None:
    """Write the bundle as one ``.edgeops`` file; the same bundle gives the same bytes.

    Raises:
        StorageError: A file cannot be read or the target not written.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as out:
            _write_tar(bundle, out)
        rename(temporary, target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_tar(bundle: Bundle, out: IO[bytes]) -> None:
    # The manifest comes first, so that a reader can refuse before it has read the models.
    names = [MANIFEST, *sorted(_members(bundle))]
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            path = bundle.folder / name
            info = tarfile.TarInfo(name)
            info.size = path.stat().st_size
            info.mode = 0o644
            with path.open("rb") as file:
                tar.addfile(info, file)


def _members(bundle: Bundle) -> Iterator[str]:
    for ref in bundle.manifest.files():
        yield ref.file
    for signature in bundle.signatures:
        yield f"{SIGNATURES}/{signature.keyid}.json"
    if (bundle.folder / MEASUREMENTS).is_file():
        yield MEASUREMENTS


def unpack(source: Path, folder: Path) -> Bundle:
    """Unpack a ``.edgeops`` file into the new folder ``folder``, checking every name and digest.

    Nothing is left behind where anything is wrong with it.

    Raises:
        StorageError: Not readable, or the disk is full.
        ContractError: Not a bundle: damaged, truncated, hostile names, wrong kinds, too large.
        TrustError: A file's digest differs from the manifest's.
    """
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    if source.exists() and not source.is_file():
        raise StorageError(f"cannot unpack {source}: not a file")  # a pipe would block for ever
    try:
        with source.open("rb") as file:
            temporary.mkdir(parents=True)
            _read_tar(file, temporary, source.name)
        bundle = open_folder(temporary)
        verify(bundle, None)
        sync_tree(temporary)
        rename(temporary, folder)
    except OSError as error:
        raise StorageError(f"cannot unpack {source}: {error.strerror or error}") from error
    finally:
        remove_tree(temporary)
    return open_folder(folder)


def _read_tar(file: IO[bytes], folder: Path, name: str) -> None:
    allowed: dict[str, int] | None = None
    seen: set[str] = set()
    try:
        refuse_foreign_headers(file, name, most=MAX_MEMBERS)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                _check_member(member, seen, name)
                if allowed is None:
                    allowed = _write_first(tar, member, folder, name)
                elif member.name not in allowed and not _is_side_file(member, name):
                    raise ContractError(
                        name, f"holds {member.name!r}, which its manifest does not name"
                    )
                else:
                    limit = allowed.get(member.name, MAX_SIGNATURE_BYTES)
                    if member.name == MEASUREMENTS:
                        limit = codec.MAX_DOCUMENT_BYTES
                    if member.size > limit:
                        raise ContractError(name, f"{member.name} is longer than {limit} bytes")
                    _copy_member(tar, member, folder)
                seen.add(member.name)
    except (tarfile.TarError, EOFError, UnicodeDecodeError, OverflowError) as error:
        raise ContractError(name, f"is not a whole bundle: {error}") from error
    if allowed is None:
        raise ContractError(name, "is empty")
    missing = sorted(set(allowed) - seen)
    if missing:
        raise ContractError(name, f"lacks {missing[0]!r}, which its manifest names")


def _check_member(member: tarfile.TarInfo, seen: set[str], name: str) -> None:
    parts = PurePosixPath(member.name).parts
    if not member.isreg():
        raise ContractError(name, f"holds {member.name[:100]!r}, which is not a plain file")
    if member.name.startswith("/") or ".." in parts or "\\" in member.name or not parts:
        raise ContractError(name, f"holds the forbidden name {member.name[:100]!r}")
    if "/".join(parts) != member.name:
        raise ContractError(name, f"holds the forbidden name {member.name[:100]!r}")
    if member.name in seen:
        raise ContractError(name, f"holds {member.name!r} twice")


def _is_side_file(member: tarfile.TarInfo, name: str) -> bool:
    if member.name == MEASUREMENTS:
        return True
    parts = PurePosixPath(member.name).parts
    if len(parts) != 2 or parts[0] != SIGNATURES:  # noqa: PLR2004  # signatures/KEYID.json
        return False
    if member.size > MAX_SIGNATURE_BYTES:
        raise ContractError(name, f"{member.name} is longer than {MAX_SIGNATURE_BYTES} bytes")
    return True


def _write_first(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, name: str
) -> dict[str, int]:
    if member.name != MANIFEST:
        raise ContractError(name, f"starts with {member.name[:100]!r}, not with {MANIFEST}")
    if member.size > MAX_MANIFEST_BYTES:
        raise ContractError(
            name, f"has a manifest of {member.size} bytes, at most {MAX_MANIFEST_BYTES} are read"
        )
    _copy_member(tar, member, folder)
    manifest = parse_manifest((folder / MANIFEST).read_bytes())
    total = sum(ref.size_bytes for ref in manifest.files())
    if total > MAX_BUNDLE_BYTES:
        raise ContractError(name, f"holds {total} bytes, at most {MAX_BUNDLE_BYTES} are read")
    return {ref.file: ref.size_bytes for ref in manifest.files()}


def _copy_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.ReadError(f"{member.name} holds nothing")
    with source, target.open("xb") as out:
        left = member.size
        while left:
            chunk = source.read(min(_CHUNK, left))
            if not chunk:
                raise tarfile.ReadError(f"{member.name} ends {left} bytes early")
            out.write(chunk)
            left -= len(chunk)


@contextlib.contextmanager
def opened(path: Path, workdir: Path) -> Iterator[Bundle]:
    """Yield a bundle given as a folder or as an ``.edgeops`` file (unpacked into ``workdir``).

    Raises:
        StorageError, ContractError, TrustError: See ``open_folder`` and ``unpack``.
    """
    if path.is_dir():
        yield open_folder(path)
        return
    if not path.is_file():
        raise StorageError(f"cannot read {path}: no such bundle folder or file")
    target = workdir / f"bundle-{secrets.token_hex(4)}"
    try:
        yield unpack(path, target)
    finally:
        remove_tree(target)


def tar_bytes(bundle: Bundle) -> bytes:
    """Return the bundle as one file in memory (for uploads of small bundles and tests)."""
    out = io.BytesIO()
    _write_tar(bundle, out)
    return out.getvalue()


def _read_limited(path: Path, limit: int) -> bytes:
    if path.is_fifo():
        raise StorageError(f"cannot read {path}: not a file")  # it would block for ever
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise ContractError(path.name, f"is longer than {limit} bytes")
    return data


def _read_signatures(folder: Path) -> tuple[Signature, ...]:
    if not folder.is_dir():
        return ()
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    if len(paths) > MAX_SIGNATURES:
        raise ContractError("signatures", f"more than {MAX_SIGNATURES} of them")
    return tuple(parse_signature(_read_limited(path, MAX_SIGNATURE_BYTES)) for path in paths)
