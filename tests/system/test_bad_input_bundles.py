"""Hostile and damaged bundles at every door: one sentence, a status, and nothing left behind."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeops import bundle as bundles
from edgeops.testing.bundles import make_bundle
from edgeops.testing.models import COLOR_INPUT, COLOR_TASK, color_classifier
from edgeops.trust import SigningKey
from tests.integration.fleet_process import FleetProcess, fleet_process
from tests.integration.test_agent_run.home import Home, write_video
from tests.system.command import edgeops
from tests.system.hostile_bundles import (
    FOLDERS,
    GIGABYTE,
    KINDS,
    TRUST,
    Forge,
    color_bundle,
    expected_status,
)

MEMORY = 3 * GIGABYTE
"""Enough for any honest bundle of these tests; the bombs ask for more."""

WIDE_DOORS = ("truncated", "traversal", "negative-size", "digest-mismatch", "pipe", *FOLDERS)
"""Kinds that the slower doors are tried with; all share one reader, see the first test."""


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    folder = tmp_path / "hostile"
    folder.mkdir()
    return Forge(color_bundle(tmp_path / "good", SigningKey.generate()), folder)


@pytest.mark.parametrize("kind", [*KINDS, *FOLDERS])
def test_verify_and_unpack_refuse(forge: Forge, tmp_path: Path, kind: str) -> None:
    path = forge.make(kind)
    before = sorted(tmp_path.rglob("*"))

    status, sentence = edgeops("bundle", "verify", path, cwd=tmp_path, memory=MEMORY).refusal()
    assert status == expected_status(kind), sentence
    if kind in KINDS:
        unpacked = edgeops("bundle", "unpack", path, "--out", "out", cwd=tmp_path, memory=MEMORY)
        assert unpacked.refusal()[0] == expected_status(kind)

    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"
    assert not Path("/tmp/edgeops-evil").exists()


@pytest.mark.parametrize("kind", [kind for kind in WIDE_DOORS if kind not in TRUST | set(FOLDERS)])
def test_show_refuses(forge: Forge, tmp_path: Path, kind: str) -> None:
    path = forge.make(kind)

    assert edgeops("bundle", "show", path, cwd=tmp_path).refusal()[0] == expected_status(kind)


@pytest.mark.parametrize("kind", WIDE_DOORS)
def test_evaluate_and_benchmark_refuse(forge: Forge, tmp_path: Path, kind: str) -> None:
    path = forge.make(kind)
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 8, 8, 3), np.uint8), y=np.zeros(2, np.int64))

    doors: list[list[str | Path]] = [["evaluate", path, "--data", "data.npz"], ["benchmark", path]]
    for words in doors:
        status, sentence = edgeops(*words, cwd=tmp_path).refusal()
        assert status == expected_status(kind), sentence


@pytest.mark.parametrize("kind", [*WIDE_DOORS, "manifest-10-mb"])
def test_the_agent_refuses_a_local_bundle(forge: Forge, tmp_path: Path, kind: str) -> None:
    home = _home(tmp_path, forge.make(kind))

    status, sentence = edgeops(
        "agent", "run", "--once", "--config", home.config, cwd=tmp_path
    ).refusal()
    assert status == expected_status(kind), sentence
    checked = home.call("check")
    assert checked.returncode == 65
    assert "models.vis.bundle" in checked.stderr
    assert "Traceback" not in checked.stderr
    left = home.state / "local"
    assert not left.exists() or not any(left.iterdir())


def _home(folder: Path, bundle: Path) -> Home:
    (folder / "home").mkdir()
    home = Home(folder / "home")
    write_video(home.folder / "belt.avi", [("green", 1)])
    home.write_config()
    home.config.write_text(
        home.config.read_text().replace("{bundle: bundle}", f"{{bundle: {bundle}}}")
    )
    return home


def test_what_a_stranger_signed_is_refused_where_keys_are_trusted(
    forge: Forge, tmp_path: Path
) -> None:
    stranger = SigningKey.generate()
    stranger.save(tmp_path / "other.key", tmp_path / "other.pub")
    good = forge.good.folder

    status, sentence = edgeops(
        "bundle", "verify", good, "--trust", "other.pub", cwd=tmp_path
    ).refusal()
    assert (status, "trusted release key" in sentence) == (77, True)
    home = _home(tmp_path, good)
    with home.config.open("a") as config:
        config.write(f"trust: {{release: [{tmp_path / 'other.pub'}]}}\n")
    ran = edgeops("agent", "run", "--once", "--config", home.config, cwd=tmp_path).refusal()
    assert ran[0] == 77


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (None, 74, "cannot read the key"),
        (b"", 65, "not an unencrypted private key"),
        (b"not a key", 65, "not an unencrypted private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 65, "private key"),
        (b"x" * 1_000_000, 65, "too long for a key"),
    ],
)
def test_a_key_that_is_none(
    forge: Forge, tmp_path: Path, content: bytes | None, status: int, words: str
) -> None:
    key = tmp_path / "release.key"
    if content is not None:
        key.write_bytes(content)
    signatures = sorted((forge.good.folder / "signatures").iterdir())

    signed = edgeops("bundle", "sign", forge.good.folder, "--key", key, cwd=tmp_path).refusal()
    assert (signed[0], words in signed[1]) == (status, True), signed
    trusted = edgeops("bundle", "verify", forge.good.folder, "--trust", key, cwd=tmp_path).refusal()
    assert trusted[0] == status
    assert sorted((forge.good.folder / "signatures").iterdir()) == signatures


def test_targets_that_cannot_be_written(forge: Forge, tmp_path: Path) -> None:
    good = forge.good.folder
    packed = tmp_path / "good.edgeops"
    bundles.pack(forge.good, packed)

    cases: list[tuple[list[str | Path], int]] = [
        (["pack", good, "--out", "."], 2),
        (["pack", good, "--out", "missing/x.edgeops"], 74),
        (["unpack", packed, "--out", "."], 2),
        (["unpack", good, "--out", "new"], 2),
        (["unpack", packed, "--out", "/proc/new"], 74),
    ]
    for words, status in cases:
        found = edgeops("bundle", *words, cwd=tmp_path).refusal()
        assert found[0] == status, found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_process(folder, {"kind": "builtin", "listen": "127.0.0.1:0"}) as process:
        yield process


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"pax-of-3-gb", "name-of-3-gb"}))
def test_the_server_refuses_an_upload(
    server: FleetProcess, forge: Forge, tmp_path: Path, kind: str
) -> None:
    path = forge.make(kind)

    status, sentence = edgeops(
        "fleet", "models", "push", path, "--config", server.config, cwd=tmp_path
    ).refusal()
    assert status == expected_status(kind), sentence

    listed = edgeops("fleet", "models", "list", "--json", "--config", server.config, cwd=tmp_path)
    assert json.loads(listed.out) == []
    assert not list((server.state / "uploads").iterdir())
    assert not [path for path in (server.state / "blobs").rglob("*") if path.is_file()]
    assert "Traceback" not in server.log()


def test_the_server_keeps_a_pushed_version_as_it_was(server: FleetProcess, tmp_path: Path) -> None:
    first = color_bundle(tmp_path / "first", server.release)
    assert server.cli("models", "push", str(first.folder)).returncode == 0

    other = make_bundle(
        tmp_path / "other",
        task=COLOR_TASK,
        input=COLOR_INPUT,
        key=server.release,
        onnx_path=color_classifier(tmp_path / "turned.onnx", turn=1),
    )
    status, sentence = edgeops(
        "fleet", "models", "push", other.folder, "--config", server.config, cwd=tmp_path
    ).refusal()

    assert status == 2, sentence
    listed = edgeops("fleet", "models", "list", "--json", "--config", server.config, cwd=tmp_path)
    assert [row["digest"] for row in json.loads(listed.out)] == [first.digest]
