"""A bundle is whole, signed and addressed by content, or it is refused with one sentence."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeops import bundle as bundles
from edgeops.bundle import Bundle
from edgeops.errors import ContractError, StorageError, TrustError
from edgeops.trust import SigningKey, TrustStore

Maker = Callable[..., Bundle]


def tar_of(members: list[tuple[str, bytes]], *, kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for i, (name, data) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.type = kind if i else tarfile.REGTYPE
            if info.type != tarfile.REGTYPE:
                info.size, info.linkname = 0, "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def members_of(bundle: Bundle) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(bundles.tar_bytes(bundle))) as tar:
        return [(m.name, (tar.extractfile(m) or io.BytesIO()).read()) for m in tar]


def refused(tmp_path: Path, data: bytes, error: type[Exception]) -> str:
    source, target = tmp_path / "foreign.edgeops", tmp_path / "unpacked"
    source.write_bytes(data)
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(error) as caught:
        bundles.unpack(source, target)
    assert {path.name for path in tmp_path.iterdir()} == before, "something was left behind"
    return str(caught.value)


def test_packing_twice_gives_the_same_bytes_and_unpacking_the_same_bundle(
    plain_bundle: Maker, tmp_path: Path
) -> None:
    bundle = plain_bundle()
    bundles.pack(bundle, tmp_path / "one.edgeops")
    bundles.pack(bundles.open_folder(bundle.folder), tmp_path / "two.edgeops")

    again = bundles.unpack(tmp_path / "one.edgeops", tmp_path / "unpacked")

    one, two = (tmp_path / "one.edgeops").read_bytes(), (tmp_path / "two.edgeops").read_bytes()
    assert one == two
    assert again.digest == bundle.digest
    assert again.signatures == bundle.signatures


def test_a_trusted_signature_verifies_and_a_foreign_key_does_not(
    plain_bundle: Maker, release_key: SigningKey
) -> None:
    bundle = plain_bundle()

    assert (
        bundles.verify(bundle, TrustStore(release=[release_key.public])) == release_key.public.keyid
    )
    with pytest.raises(TrustError, match="no valid signature of a trusted release key"):
        bundles.verify(bundle, TrustStore(release=[SigningKey.generate().public]))
    with pytest.raises(TrustError, match="trusted: none"):
        bundles.verify(bundle, TrustStore(director=[release_key.public]))


def test_one_flipped_byte_in_a_model_or_manifest_is_found(
    plain_bundle: Maker, release_key: SigningKey
) -> None:
    trust = TrustStore(release=[release_key.public])
    bundle = plain_bundle()
    (bundle.folder / "models/m.onnx").write_bytes(b"weightz")
    with pytest.raises(TrustError, match="digest"):
        bundles.verify(bundle, trust)

    manifest = bundle.folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"serial":1', b'"serial":9'))
    with pytest.raises(TrustError, match="signature"):
        bundles.verify(bundles.open_folder(bundle.folder), trust, files=False)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "models/../../evil", "models\\..\\evil", "./models/x", "models//x"],
)
def test_names_that_leave_the_folder_are_refused(
    plain_bundle: Maker, tmp_path: Path, name: str
) -> None:
    members = [*members_of(plain_bundle()), (name, b"x")]
    assert "forbidden name" in refused(tmp_path, tar_of(members), ContractError)


def test_a_manifest_that_names_a_path_outside_is_refused(
    plain_bundle: Maker, tmp_path: Path
) -> None:
    first, *rest = members_of(plain_bundle())
    hostile = (first[0], first[1].replace(b"models/m.onnx", b"../../m.onnx"))
    assert "manifest.variants[0].file" in refused(tmp_path, tar_of([hostile, *rest]), ContractError)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
)
def test_links_devices_and_folders_are_refused(
    plain_bundle: Maker, tmp_path: Path, kind: bytes
) -> None:
    members = members_of(plain_bundle())
    assert "not a plain file" in refused(tmp_path, tar_of(members, kind=kind), ContractError)


def test_every_truncation_is_refused(plain_bundle: Maker, tmp_path: Path) -> None:
    whole = bundles.tar_bytes(plain_bundle(model=b"w" * 3000))
    end = len(whole.rstrip(b"\0"))
    for length in [0, 1, 100, 511, 512, 700, 1024, end // 2, end - 1]:
        (tmp_path / "cut.edgeops").write_bytes(whole[:length])
        with pytest.raises((ContractError, TrustError)):
            bundles.unpack(tmp_path / "cut.edgeops", tmp_path / f"cut-{length}")
        assert not (tmp_path / f"cut-{length}").exists()


def test_files_that_the_manifest_does_not_name_or_names_in_vain_are_refused(
    plain_bundle: Maker, tmp_path: Path
) -> None:
    members = members_of(plain_bundle())
    extra = tar_of([*members, ("models/other.onnx", b"x")])
    twice = tar_of([*members, members[1]])
    lacking = tar_of([m for m in members if m[0] != "models/m.onnx"])
    assert "does not name" in refused(tmp_path, extra, ContractError)
    assert "twice" in refused(tmp_path, twice, ContractError)
    assert "lacks" in refused(tmp_path, lacking, ContractError)


def test_a_manifest_of_ten_megabytes_is_refused_unread(tmp_path: Path) -> None:
    message = refused(tmp_path, tar_of([("manifest.json", b" " * 10_000_000)]), ContractError)
    assert "10000000 bytes" in message


def test_a_digest_mismatch_is_refused(plain_bundle: Maker, tmp_path: Path) -> None:
    members = [
        (n, b"weightz" if n == "models/m.onnx" else d) for n, d in members_of(plain_bundle())
    ]
    assert "digest" in refused(tmp_path, tar_of(members), TrustError)


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100, b"\0" * 4096, b"PK\x03\x04" * 200])
def test_what_is_not_a_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, data, ContractError)


def test_a_missing_file_or_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        bundles.unpack(tmp_path / "nowhere.edgeops", tmp_path / "x")
    with pytest.raises(StorageError, match=r"manifest\.json"):
        bundles.open_folder(tmp_path)
