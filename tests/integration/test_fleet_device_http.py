"""The device side over HTTP: only what is assigned, in ranges, to who proves who it is."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from edgeops import codec
from edgeops.bundle import parse_manifest, tar_bytes
from edgeops.contracts.device_api import AssignmentList, SignatureList
from edgeops.contracts.update import Assignment, SlotReport, UpdateState
from edgeops.trust import ASSIGNMENT_TYPE, Role, TrustStore, VerifyKey
from tests.integration.fleet_device import EmulatedDevice, connected
from tests.integration.fleet_process import FleetProcess, fleet_process, until
from tests.unit.fleet.registry.test_registry import make_bundle

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    folder = tmp_path_factory.mktemp("fleet")
    broker = {"kind": "builtin", "listen": "127.0.0.1:0"}
    with fleet_process(folder, broker, "max_bundle: 3MB") as process:
        yield process


@pytest.fixture(scope="module")
def device(server: FleetProcess) -> Iterator[EmulatedDevice]:
    with connected(server, "a") as found:
        yield found


@pytest.fixture(scope="module")
def digest(
    server: FleetProcess, device: EmulatedDevice, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A bundle, pushed and rolled out to device ``a`` alone."""
    folder = tmp_path_factory.mktemp("bundle") / "b"
    bundle = make_bundle(folder, content=CONTENT, key=server.release)
    assert server.cli("models", "push", str(folder)).returncode == 0
    device.report(SlotReport(slot="main", gen=0, state=UpdateState.IDLE))
    started = server.cli("rollout", "start", bundle.digest, "--device", "a", "--json")
    assert started.returncode == 0, started.stderr
    until(lambda: any(bell.gen == 1 for bell in device.bells), "the doorbell")
    return bundle.digest


def test_the_assignment_is_signed_for_this_device(
    server: FleetProcess, device: EmulatedDevice, digest: str
) -> None:
    answer = device.get("assignments")

    found = codec.decode(answer.data, AssignmentList, where="answer")
    trust = TrustStore(director=[VerifyKey.load(server.state / "keys/director.pub")])
    document = trust.open(
        Role.DIRECTOR, ASSIGNMENT_TYPE, found.assignments[0], what="the assignment"
    )
    assignment = codec.decode(document, Assignment, where="assignment")
    assert (assignment.device, assignment.slot, assignment.gen) == ("a", "main", 1)
    assert assignment.bundle == digest


def test_the_whole_bundle_can_be_fetched_and_checked(
    server: FleetProcess, device: EmulatedDevice, digest: str
) -> None:
    base = f"bundles/{digest.removeprefix('sha256:')}"

    manifest = device.get(f"{base}/manifest").data
    signatures = codec.decode(device.get(f"{base}/signatures").data, SignatureList, where="s")

    assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == digest
    TrustStore(release=[server.release.public]).verify(
        Role.RELEASE, manifest, signatures.signatures, what="the bundle"
    )
    ref = parse_manifest(manifest).files()[0]
    blob = device.get(f"blobs/{ref.sha256}")
    assert blob.data == CONTENT
    assert blob.headers["ETag"] == f'"{ref.sha256}"'


def test_a_download_goes_on_where_it_stopped(device: EmulatedDevice, digest: str) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()

    middle = device.get(f"blobs/{sha256}", Range="bytes=1000-1999")
    rest = device.get(f"blobs/{sha256}", Range="bytes=1000000-", **{"If-Range": f'"{sha256}"'})
    beyond = device.get(f"blobs/{sha256}", Range=f"bytes={len(CONTENT)}-")
    known = device.get(f"blobs/{sha256}", **{"If-None-Match": f'"{sha256}"'})

    assert (middle.status, middle.data) == (206, CONTENT[1000:2000])
    assert middle.headers["Content-Range"] == f"bytes 1000-1999/{len(CONTENT)}"
    assert (rest.status, rest.data) == (206, CONTENT[1_000_000:])
    assert beyond.status == 416
    assert (known.status, known.data) == (304, b"")


def test_another_device_may_fetch_none_of_it(
    server: FleetProcess, device: EmulatedDevice, digest: str
) -> None:
    with connected(server, "b") as other:
        hexdigits = digest.removeprefix("sha256:")
        for path in (
            f"bundles/{hexdigits}/manifest",
            f"bundles/{hexdigits}/signatures",
            f"blobs/{hashlib.sha256(CONTENT).hexdigest()}",
        ):
            assert other.get(path).status == 403, path
        assert codec.decode(other.get("assignments").data, AssignmentList, where="x") == (
            AssignmentList()
        )


@pytest.mark.parametrize(
    "path",
    [
        "blobs/" + "0" * 64,
        "bundles/" + "0" * 64 + "/manifest",
        "blobs/..%2f..%2fadmin.token",
        "blobs/../../../etc/passwd",
        "nothing",
    ],
)
def test_what_there_is_not_is_not_found(device: EmulatedDevice, path: str) -> None:
    assert device.get(path).status == 404


def test_wrong_secrets_unknown_names_and_damaged_headers_hear_401(server: FleetProcess) -> None:
    pool = urllib3.PoolManager(retries=False)
    good = server.enrol("c")
    url = f"{server.endpoints.device}/device/v1/assignments"
    for headers in (
        {},
        urllib3.make_headers(basic_auth="c:" + "x" * 43),
        urllib3.make_headers(basic_auth="ghost:" + good["secret"]),
        urllib3.make_headers(basic_auth="edgeops-server:" + good["secret"]),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic Yw=="},
        {"Authorization": f"Bearer {good['secret']}"},
    ):
        answer = pool.request("GET", url, headers=headers)
        assert answer.status == 401, headers
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    right = urllib3.make_headers(basic_auth=f"c:{good['secret']}")
    assert pool.request("GET", url, headers=right).status == 200
    pool.clear()


def test_a_large_upload_is_refused_and_leaves_nothing(server: FleetProcess, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", content=bytes(4_000_000), key=server.release)
    (tmp_path / "b.edgeops").write_bytes(tar_bytes(bundle))

    refused = server.cli("models", "push", str(tmp_path / "b.edgeops"))

    assert refused.returncode == 65
    assert "longer than 3000000" in refused.stderr
    assert list((server.state / "uploads").iterdir()) == []
