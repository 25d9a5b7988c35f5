"""Taking in an uploaded ``.edgeops`` file: bounded, unpacked with distrust, verified, then kept."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

from edgeops import bundle as bundles
from edgeops.bundle import Bundle
from edgeops.clock import Clock
from edgeops.durable import remove_tree
from edgeops.errors import ContractError, StorageError, TransportError
from edgeops.trust import TrustStore
from fleet.db.engine import Database
from fleet.registry import store
from fleet.registry.blobs import BlobStore, free_bytes

SPARE_BYTES: Final = 64 << 20
COPIES: Final = 3
"""The upload, its unpacked files and the blobs stand beside each other for a moment."""
CONCURRENT: Final = 2
PATIENCE_S: Final = 60.0
"""A sender that was cut off says nothing more, and would hold one of the few places for ever."""


class Pusher:
    """Takes bundles in.

    Args:
        uploads: Folder for what is under way; emptied at the start.
        trust: Release keys whose signature lets a bundle in.
        max_bytes: Largest upload.
        patience_s: How long an upload may stand still.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        uploads: Path,
        trust: TrustStore,
        max_bytes: int,
        clock: Clock,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._uploads = uploads
        self._trust = trust
        self._max_bytes = max_bytes
        self._clock = clock
        self._patience_s = patience_s
        self._free = asyncio.Semaphore(CONCURRENT)
        for leftover in uploads.iterdir():
            remove_tree(leftover)
            leftover.unlink(missing_ok=True)

    async def push(self, chunks: AsyncIterator[bytes]) -> store.PushOutcome:
        """Store one uploaded bundle; nothing remains of one that is refused.

        Raises:
            ContractError: Too large, or not a bundle.
            TrustError: A digest differs, or no trusted release key signed it.
            UsageError: Another bundle has its name and version.
            StorageError: The disk is full.
            TransportError: The upload stands still.
        """
        async with self._free:
            name = secrets.token_hex(8)
            upload, folder = self._uploads / f"{name}.edgeops", self._uploads / name
            try:
                await self._receive(chunks, upload)
                found, keyid = await asyncio.to_thread(self._examine, upload, folder)
                await self._database.read(lambda connection: store.check_name(connection, found))
                await asyncio.to_thread(self._keep, found)
                return await self._database.write(
                    lambda connection: store.add(
                        connection, found, keyid=keyid, now_s=self._clock.wall()
                    )
                )
            finally:
                upload.unlink(missing_ok=True)
                await asyncio.to_thread(remove_tree, folder)

    async def _receive(self, chunks: AsyncIterator[bytes], target: Path) -> None:
        room = (free_bytes(self._uploads) - SPARE_BYTES) // COPIES
        size = 0
        try:
            with await asyncio.to_thread(_create, target) as out:
                while chunk := await self._next(chunks):
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise ContractError("bundle", f"is longer than {self._max_bytes} bytes")
                    if size > room:
                        raise StorageError(f"no room for a bundle of more than {room} bytes")
                    await asyncio.to_thread(out.write, chunk)
        except OSError as error:
            raise StorageError(f"cannot keep the upload: {error.strerror or error}") from error

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes:
        """Return the next bytes that are not empty; none at the end."""
        try:
            async with asyncio.timeout(self._patience_s):
                async for chunk in chunks:
                    if chunk:
                        return chunk
        except TimeoutError as error:
            raise TransportError(f"the upload stood still for {self._patience_s:g} s") from error
        return b""

    def _examine(self, upload: Path, folder: Path) -> tuple[Bundle, str]:
        found = bundles.unpack(upload, folder)
        keyid = bundles.verify(found, self._trust, files=False)  # unpack has checked the files
        return found, keyid

    def _keep(self, found: Bundle) -> None:
        for ref in found.manifest.files():
            self._blobs.add(found.path(ref.file), ref.sha256)


def _create(path: Path) -> IO[bytes]:
    return path.open("xb")
