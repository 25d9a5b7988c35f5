"""The server's state folder: who holds it, its keys and token, and where it can be reached.

fleet.sqlite   keys/director.{key,pub}   admin.token   endpoints.json
blobs/ab/<sha256>   uploads/   broker/{passwd,acl}   lock
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeops import codec
from edgeops.durable import write_atomic
from edgeops.errors import ContractError, StorageError
from edgeops.trust import SigningKey

ENDPOINTS: Final = "endpoints.json"
TOKEN: Final = "admin.token"  # noqa: S105  # a file name
LOCK: Final = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a running server listens."""

    api: str
    device: str
    mqtt: str
    broker: str


class StateFolder:
    """An open state folder, held by one server at a time.

    Raises:
        StorageError: It cannot be made or written, or another server holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("keys", "blobs", "uploads", "broker"):
                (folder / name).mkdir(exist_ok=True, mode=0o700)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot use {folder}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StorageError(f"another fleet server uses {folder}") from error
        (folder / ENDPOINTS).unlink(missing_ok=True)

    def director(self) -> SigningKey:
        """Return the key that signs assignments; made at the first start."""
        private, public = self.folder / "keys/director.key", self.folder / "keys/director.pub"
        if private.exists():
            return SigningKey.load(private)
        key = SigningKey.generate()
        key.save(private, public)
        return key

    def admin_token(self) -> str:
        """Return the operator's token; made at the first start, readable by the owner only."""
        path = self.folder / TOKEN
        if not path.exists():
            write_atomic(path, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)
        return read_token(path)

    def publish(self, endpoints: Endpoints) -> None:
        """Write where we listen, once everything does."""
        write_atomic(self.folder / ENDPOINTS, codec.canonical(endpoints) + b"\n")

    def close(self) -> None:
        """Give the folder free."""
        (self.folder / ENDPOINTS).unlink(missing_ok=True)
        os.close(self._lock)


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        StorageError: The file cannot be read.
        ContractError: It holds nothing that could be a token.
    """
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read the token {path}: {error}") from error
    if not token.isascii() or not 16 <= len(token) <= 200:  # noqa: PLR2004
        raise ContractError(str(path), "does not hold a token")
    return token


def read_endpoints(folder: Path) -> Endpoints:
    """Return where the server of ``folder`` listens.

    Raises:
        StorageError: No server runs there.
        ContractError: The file is damaged.
    """
    return codec.read(folder / ENDPOINTS, Endpoints)
