"""Bundles pushed: verified, stored by content, never changed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import pytest

from edgeops.bundle import Bundle, file_ref, tar_bytes, write_manifest
from edgeops.contracts.manifest import InputSpec, Manifest, Task, TensorSpec, Variant
from edgeops.errors import (
    ContractError,
    StorageError,
    TransportError,
    TrustError,
    UsageError,
)
from edgeops.trust import SigningKey, TrustStore
from fleet.db.engine import Database
from fleet.registry import store
from fleet.registry.blobs import BlobStore
from fleet.registry.push import CONCURRENT, Pusher
from fleet.registry.store import PushOutcome
from tests.unit.fleet.database import SetClock

KEY = SigningKey.generate()


def make_bundle(
    folder: Path, *, content: bytes = b"model", version: str = "1.0.0", key: SigningKey = KEY
) -> Bundle:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    ref = file_ref(folder, "model.onnx")
    tensor = TensorSpec(name="x", shape=(1, 4), dtype="float32")
    variant = Variant(
        runtime="onnx",
        precision="float32",
        file=ref.file,
        sha256=ref.sha256,
        size_bytes=ref.size_bytes,
        inputs=(tensor,),
        outputs=(tensor,),
    )
    manifest = Manifest(
        name="belt",
        version=version,
        serial=int(version.replace(".", "")),
        task=Task(type="anomaly", score="mse"),
        inputs=(InputSpec(),),
        variants=(variant,),
    )
    return write_manifest(folder, manifest, key)


class Registry:
    """A pusher on a temporary folder."""

    def __init__(self, database: Database, folder: Path, max_bytes: int = 1 << 20) -> None:
        self.folder = folder
        (folder / "blobs").mkdir()
        (folder / "uploads").mkdir()
        self.database = database
        self.blobs = BlobStore(folder / "blobs")
        self._max_bytes = max_bytes

    def push(self, data: bytes) -> PushOutcome:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 1000):
                yield data[start : start + 1000]

        async def run() -> PushOutcome:
            return await self.pusher().push(chunks())

        return asyncio.run(run())

    def pusher(self, patience_s: float = 10.0) -> Pusher:
        return Pusher(
            database=self.database,
            blobs=self.blobs,
            uploads=self.folder / "uploads",
            trust=TrustStore(release=[KEY.public]),
            max_bytes=self._max_bytes,
            clock=SetClock(),
            patience_s=patience_s,
        )

    def is_clean(self) -> bool:
        return not list((self.folder / "uploads").iterdir())


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Registry:
    return Registry(database, tmp_path)


def test_a_pushed_bundle_is_stored_by_content(registry: Registry, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")

    outcome = registry.push(tar_bytes(bundle))

    assert outcome == PushOutcome(digest=bundle.digest, name="belt", version="1.0.0", created=True)
    ref = bundle.manifest.files()[0]
    assert registry.blobs.path(ref.sha256).read_bytes() == b"model"
    kept = registry.database.write_here(lambda c: store.manifest_bytes(c, bundle.digest))
    assert kept == bundle.manifest_bytes
    assert registry.is_clean()


def test_the_same_bundle_again_is_no_news(registry: Registry, tmp_path: Path) -> None:
    data = tar_bytes(make_bundle(tmp_path / "b"))

    assert registry.push(data).created
    assert not registry.push(data).created
    assert len(registry.database.write_here(store.listed)) == 1


def test_another_content_under_a_known_version_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    registry.push(tar_bytes(make_bundle(tmp_path / "a")))
    other = make_bundle(tmp_path / "b", content=b"other")

    with pytest.raises(UsageError, match="never changes"):
        registry.push(tar_bytes(other))
    assert registry.is_clean()
    assert not registry.blobs.path(other.manifest.files()[0].sha256).exists()


def test_a_bundle_of_a_stranger_is_refused_and_leaves_no_blob(
    registry: Registry, tmp_path: Path
) -> None:
    foreign = make_bundle(tmp_path / "b", key=SigningKey.generate())

    with pytest.raises(TrustError, match="trusted release key"):
        registry.push(tar_bytes(foreign))
    assert not registry.blobs.path(foreign.manifest.files()[0].sha256).exists()
    assert registry.database.write_here(store.listed) == ()
    assert registry.is_clean()


@pytest.mark.parametrize("cut", [0, 1, 511, 700, 1600, 3000])
def test_a_truncated_upload_is_refused(registry: Registry, tmp_path: Path, cut: int) -> None:
    data = tar_bytes(make_bundle(tmp_path / "b"))

    with pytest.raises((ContractError, TrustError)):
        registry.push(data[:cut])
    assert registry.is_clean()


def test_an_upload_beyond_the_limit_is_refused(database: Database, tmp_path: Path) -> None:
    registry = Registry(database, tmp_path, max_bytes=5000)

    with pytest.raises(ContractError, match="longer than 5000"):
        registry.push(tar_bytes(make_bundle(tmp_path / "b", content=bytes(20_000))))
    assert registry.is_clean()


def test_people_name_bundles_in_four_ways(registry: Registry, tmp_path: Path) -> None:
    old = make_bundle(tmp_path / "a")
    new = make_bundle(tmp_path / "b", content=b"newer", version="1.1.0")
    for bundle in (new, old):
        registry.push(tar_bytes(bundle))

    def resolve(reference: str) -> str:
        return registry.database.write_here(lambda c: store.resolve(c, reference))

    assert resolve(old.digest) == resolve(old.digest[7:19]) == resolve("belt@1.0.0") == old.digest
    assert resolve("belt") == new.digest, "the highest serial, not the latest push"
    for unknown in ("nothing", "belt@9.9.9", "ffffffff0000", "%", "_" * 8):
        with pytest.raises(UsageError):
            resolve(unknown)


def test_uploads_that_stand_still_give_their_places_back(
    database: Database, tmp_path: Path
) -> None:
    """Such as from a machine that was cut off: nobody ever says that it is gone."""
    registry = Registry(database, tmp_path)
    data = tar_bytes(make_bundle(tmp_path / "b"))

    async def cut_off() -> AsyncIterator[bytes]:
        yield data[:100]
        await asyncio.Event().wait()

    async def whole() -> AsyncIterator[bytes]:
        yield data

    async def scene() -> list[PushOutcome | BaseException]:
        pusher = registry.pusher(patience_s=0.2)
        async with asyncio.timeout(10.0):
            return await asyncio.gather(
                *(pusher.push(cut_off()) for _ in range(CONCURRENT)),
                pusher.push(whole()),
                return_exceptions=True,
            )

    *stalled, good = asyncio.run(scene())

    assert all(isinstance(one, TransportError) for one in stalled), stalled
    assert isinstance(good, PushOutcome)
    assert registry.is_clean()


def test_a_disk_that_fills_up_during_an_upload_is_said(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> IO[bytes]:
        path.touch()
        return Path("/dev/full").open("wb", buffering=0)

    monkeypatch.setattr("fleet.registry.push._create", full)

    with pytest.raises(StorageError, match="No space left"):
        registry.push(tar_bytes(make_bundle(tmp_path / "b")))
    assert registry.is_clean()
