"""HTTP client of the server's device side: assignments, manifests, and files that resume.

Everything that arrives is bounded by what was promised, and nothing is believed before its
digest: a proxy that cuts, repeats, or answers with a login page costs time only.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout, make_headers

from edgeops import __version__, codec
from edgeops.bundle import MAX_MANIFEST_BYTES
from edgeops.contracts.credential import Credential
from edgeops.contracts.device_api import ROOT, AssignmentList, SignatureList
from edgeops.contracts.manifest import FileRef
from edgeops.durable import rename, sync_folder
from edgeops.errors import ContractError, StorageError, TransportError, TrustError
from edgeops.failpoint import hit
from edgeops.trust import Envelope, Signature, file_sha256

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_S: Final = 10.0
READ_S: Final = 30.0
"""A line that carries nothing for this long is dead."""

SYNC_EVERY: Final = 4 << 20
_CHUNK: Final = 64 * 1024
_OK, _PARTIAL, _BAD_RANGE = 200, 206, 416


class DeviceApi:
    """The server as one device sees it; implements ``AssignmentServer``.

    Args:
        url: Base address, ``http://…`` or ``https://…``.
        credential: User name and password.
        ca: Own certificate authority (PEM); ``None``: those of the system.

    Raises:
        ContractError: ``url`` is no HTTP address.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        *,
        ca: Path | None = None,
        connect_s: float = CONNECT_S,
        read_s: float = READ_S,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ContractError("fleet.url", f"{url!r} is not http://… or https://…")
        self._root = url.rstrip("/") + ROOT
        self._cancelled = threading.Event()
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=2,
            headers={
                **make_headers(basic_auth=f"{credential.device}:{credential.secret}"),
                "User-Agent": f"edgeops-agent/{__version__}",
            },
            timeout=Timeout(connect=connect_s, read=read_s),
            retries=False,  # the updater has its own back-off
            ca_certs=None if ca is None else str(ca),
        )

    def assignments(self) -> tuple[Envelope, ...]:
        """Return the signed assignments; see ``AssignmentServer``."""
        return self._document("/assignments", AssignmentList).assignments

    def manifest(self, digest: str) -> bytes:
        """Return a manifest's bytes; see ``AssignmentServer``."""
        return self._read(f"/bundles/{_hex(digest)}/manifest", MAX_MANIFEST_BYTES)

    def signatures(self, digest: str) -> tuple[Signature, ...]:
        """Return a bundle's release signatures; see ``AssignmentServer``."""
        return self._document(f"/bundles/{_hex(digest)}/signatures", SignatureList).signatures

    def download(self, ref: FileRef, target: Path, *, keep_free: int = 0) -> None:
        """Fetch one file, going on where an earlier attempt stopped; see ``AssignmentServer``."""
        self._cancelled.clear()
        part = target.with_name(f"{target.name}.part")
        have = _length(part)
        if have > ref.size_bytes:
            part.unlink()
            have = 0
        _check_space(part.parent, ref.size_bytes - have, keep_free)
        if have < ref.size_bytes or not part.exists():
            try:
                self._fetch(ref, part, have)
            except TrustError:
                part.unlink(missing_ok=True)
                raise
        if file_sha256(part) != ref.sha256:
            part.unlink(missing_ok=True)
            raise TrustError(f"{ref.file}: what was downloaded has not the digest that was signed")
        hit("update.before_blob_rename")
        rename(part, target)

    def cancel(self) -> None:
        """Let a running ``download`` end soon with ``TransportError``; from any thread."""
        self._cancelled.set()

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()

    def _fetch(self, ref: FileRef, part: Path, have: int) -> None:
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            # The tag of a file is its digest: another file under this name is sent whole.
            headers["If-Range"] = f'"{ref.sha256}"'
        with self._get(f"/blobs/{ref.sha256}", headers) as answer:
            if answer.status == _BAD_RANGE:
                part.unlink(missing_ok=True)
                raise TransportError(f"{ref.file}: the server cannot go on at byte {have}")
            if answer.status not in {_OK, _PARTIAL}:
                _refuse(answer.status, f"/blobs/{ref.sha256[:12]}…")
            if answer.status == _OK:
                have = 0
            elif _range_start(answer) != have:
                raise TransportError(f"{ref.file}: the server sent another range than asked for")
            try:
                with part.open("r+b" if have else "wb") as file:
                    file.truncate(have)
                    file.seek(have)
                    self._copy(answer, file.fileno(), ref, have)
                sync_folder(part.parent)
            except OSError as error:
                raise StorageError(f"cannot write {part}: {error.strerror or error}") from error

    def _copy(
        self, answer: urllib3.BaseHTTPResponse, descriptor: int, ref: FileRef, have: int
    ) -> None:
        synced = have
        try:
            for chunk in self._chunks(answer, ref):
                if have + len(chunk) > ref.size_bytes:
                    raise TrustError(f"{ref.file} is longer than the {ref.size_bytes} bytes signed")
                _write_all(descriptor, chunk)
                have += len(chunk)
                if have - synced >= SYNC_EVERY:
                    os.fsync(descriptor)
                    synced = have
                hit("update.after_chunk")
        finally:
            os.fsync(descriptor)
        if have < ref.size_bytes:
            raise TransportError(f"{ref.file}: the line broke after {have} bytes")

    def _chunks(self, answer: urllib3.BaseHTTPResponse, ref: FileRef) -> Iterator[bytes]:
        while True:
            if self._cancelled.is_set():
                raise TransportError(f"{ref.file}: the download was called off")
            try:
                chunk = answer.read(_CHUNK, decode_content=False)
            except HTTPError as error:
                raise TransportError(f"{ref.file}: {_words(error)}") from error
            if not chunk:
                return
            yield chunk

    def _document(self, path: str, wanted: type[T]) -> T:
        data = self._read(path, codec.MAX_DOCUMENT_BYTES)
        return codec.decode(data, wanted, where=path.rpartition("/")[2])

    def _read(self, path: str, limit: int) -> bytes:
        with self._get(path, {"Accept": "application/json"}) as answer:
            if answer.status != _OK:
                _refuse(answer.status, path)
            try:
                data = answer.read(limit + 1)
            except HTTPError as error:
                raise TransportError(f"{self._root}{path}: {_words(error)}") from error
        if len(data) > limit:
            raise ContractError(path, f"is longer than {limit} bytes")
        return data

    @contextmanager
    def _get(self, path: str, headers: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            answer = self._pool.request(
                "GET",
                self._root + path,
                headers={**self._pool.headers, **headers},
                preload_content=False,
                redirect=False,
            )
        except (HTTPError, OSError) as error:
            raise TransportError(f"cannot reach {self._root}: {_words(error)}") from error
        try:
            yield answer
        finally:
            # An answer that was not read to its end leaves the line unusable.
            answer.close()
            answer.release_conn()


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _refuse(status: int, path: str) -> NoReturn:
    words = {
        401: "does not know this device or its secret",
        403: "says this is not for this device",
        404: "has no such thing",
    }
    raise TransportError(f"{path}: the server {words.get(status, f'answered {status}')}")


def _range_start(answer: urllib3.BaseHTTPResponse) -> int:
    text = answer.headers.get("Content-Range", "")
    start = text.removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdigit() else -1


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def _check_space(folder: Path, needed: int, keep_free: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(folder)
    except OSError as error:
        raise StorageError(f"cannot use {folder}: {error.strerror or error}") from error
    free = disk.f_bavail * disk.f_frsize
    if free - needed < keep_free:
        raise StorageError(
            f"no space: {needed} bytes are to come, {free} are free, {keep_free} must stay free"
        )


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _words(error: Exception) -> str:
    """Return urllib3's message without its object's address."""
    return str(error).partition(">: ")[2] or str(error) or type(error).__name__
