"""Downloads go on where they stopped, and believe nothing before its digest."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.server import DeviceApi
from edgeops.bundle import Bundle
from edgeops.contracts.credential import Credential
from edgeops.contracts.manifest import FileRef
from edgeops.errors import ContractError, StorageError, TransportError, TrustError
from tests.emulation.fleet_server import FleetServer

CREDENTIAL = Credential(tenant="acme", device="d1", secret="correct horse battery")
WEIGHTS = hashlib.sha512(b"seed").digest() * 5000


@pytest.fixture
def server(plain_bundle: Callable[..., Bundle]) -> Iterator[FleetServer]:
    with FleetServer(CREDENTIAL) as made:
        made.publish(plain_bundle(model=WEIGHTS))
        yield made


@pytest.fixture
def api(server: FleetServer) -> Iterator[DeviceApi]:
    made = DeviceApi(server.url, CREDENTIAL, read_s=2.0)
    yield made
    made.close()


@pytest.fixture
def ref(server: FleetServer) -> FileRef:
    (bundle,) = server.bundles.values()
    return bundle.manifest.files()[0]


def test_a_file_arrives_whole(api: DeviceApi, ref: FileRef, tmp_path: Path) -> None:
    api.download(ref, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == WEIGHTS
    assert not list(tmp_path.glob("*.part"))


def test_a_broken_download_goes_on_where_it_stopped(
    server: FleetServer, api: DeviceApi, ref: FileRef, tmp_path: Path
) -> None:
    server.cuts = [100_000, 50_000]
    for _ in range(2):
        with pytest.raises(TransportError):
            api.download(ref, tmp_path / "m.onnx")
    api.download(ref, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == WEIGHTS
    assert server.ranges == ["bytes=100000-", "bytes=150000-"]
    assert server.served == len(WEIGHTS)


def test_a_proxy_that_ignores_the_range_is_read_from_the_start(
    server: FleetServer, api: DeviceApi, ref: FileRef, tmp_path: Path
) -> None:
    server.cuts = [100_000]
    with pytest.raises(TransportError):
        api.download(ref, tmp_path / "m.onnx")
    server.ignores_range = True
    api.download(ref, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == WEIGHTS


def test_changed_bytes_are_thrown_away(
    server: FleetServer, api: DeviceApi, ref: FileRef, tmp_path: Path
) -> None:
    server.tampered.add(ref.sha256)
    with pytest.raises(TrustError, match="digest"):
        api.download(ref, tmp_path / "m.onnx")
    assert list(tmp_path.glob("m.onnx*")) == []


def test_more_bytes_than_signed_are_not_read(
    server: FleetServer, api: DeviceApi, ref: FileRef, tmp_path: Path
) -> None:
    short = FileRef(file=ref.file, sha256=ref.sha256, size_bytes=1000)
    with pytest.raises(TrustError, match="longer"):
        api.download(short, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_part_that_is_already_too_long_starts_over(
    api: DeviceApi, ref: FileRef, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx.part").write_bytes(b"x" * (len(WEIGHTS) + 1))
    api.download(ref, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == WEIGHTS


def test_without_space_nothing_is_asked_for(
    server: FleetServer, api: DeviceApi, ref: FileRef, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="no space"):
        api.download(ref, tmp_path / "m.onnx", keep_free=1 << 60)
    assert server.requests["blobs"] == 0


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503, 302])
def test_every_refusal_is_worth_a_later_try(
    server: FleetServer, api: DeviceApi, status: int
) -> None:
    server.statuses = [status]
    with pytest.raises(TransportError):
        api.assignments()
    assert api.assignments() == ()


def test_a_wrong_secret_is_told_without_saying_it(server: FleetServer) -> None:
    wrong = Credential(tenant="acme", device="d1", secret="wrong horse battery")
    api = DeviceApi(server.url, wrong)
    try:
        with pytest.raises(TransportError, match="does not know this device") as told:
            api.assignments()
    finally:
        api.close()
    assert "wrong horse" not in str(told.value)


def test_a_login_page_is_not_an_assignment(server: FleetServer, api: DeviceApi) -> None:
    server.portal = True
    with pytest.raises(ContractError):
        api.assignments()


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    api = DeviceApi("http://127.0.0.1:9", CREDENTIAL, connect_s=1.0)
    try:
        with pytest.raises(TransportError, match=r"cannot reach http://127\.0\.0\.1:9"):
            api.assignments()
    finally:
        api.close()


def test_another_kind_of_address_is_refused() -> None:
    with pytest.raises(ContractError, match="not http"):
        DeviceApi("ftp://host", CREDENTIAL)
