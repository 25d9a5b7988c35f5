"""Every YAML document that people write, written badly: one sentence with the line, status 65."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fleet_process import FleetProcess, fleet_process
from tests.system.command import edgeops
from tests.system.hostile_bundles import color_bundle

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)

DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "unknown-key": (b"nmae: x\n", "line 1: nmae: unknown key"),
    "duplicate-key": (b"name: 1\nname: 2\n", "line 2: the key 'name' stands twice"),
    "alias-bomb": (BOMB.encode(), "aliases (*name) are not read"),
    "tag": (b"name: !!python/object/apply:os.system [x]\n", "tags (!name) are not read"),
    "damaged-tag": (b"name: !!timestamp x\n", "tags (!name) are not read"),
    "not-utf-8": (b"\xff\xfe\x00a", "is not UTF-8 text"),
    "control-code": (b'name: "\x01"\n', "is not YAML"),
    "huge": (b"a" * 3_000_000, "is longer than 1048576 bytes"),
    "deep": (b"a:" + b" [" * 5000 + b"]" * 5000, "nested too deeply"),
    "list": (b"- 1\n", "Expected a mapping, got a list"),
    "words": (b"just words\n", "Expected a mapping, got text"),
    "damaged": (b"a: [1\nb: }\n", "is not YAML"),
    "two-documents": (b"a: 1\n---\nb: 2\n", "is not YAML"),
    "key-that-is-a-list": (b"? [a]\n: b\n", "a key must be a word"),
}

DOORS: dict[str, list[str]] = {
    "agent.yaml": ["agent", "run", "--config"],
    "fleet.yaml": ["fleet", "serve", "--config"],
    "recipe.yaml": ["convert", "--out", "out", "--recipe"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_process(folder, {"kind": "builtin", "listen": "127.0.0.1:0"}) as process:
        bundle = color_bundle(folder / "bundle", process.release)
        assert process.cli("models", "push", str(bundle.folder)).returncode == 0
        yield process


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("name", DOORS)
def test_a_bad_document_is_refused_with_its_place(tmp_path: Path, name: str, kind: str) -> None:
    content, words = DOCUMENTS[kind]
    (tmp_path / name).write_bytes(content)

    status, sentence = edgeops(*DOORS[name], name, cwd=tmp_path).refusal()

    assert status == 65
    assert sentence.startswith(f"edgeops: contract: {name}: ")
    assert words in sentence
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing was begun"


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_bad_policy_makes_no_rollout(server: FleetProcess, tmp_path: Path, kind: str) -> None:
    content, words = DOCUMENTS[kind]
    (tmp_path / "policy.yaml").write_bytes(content)

    status, sentence = edgeops(
        *["fleet", "rollout", "start", "tiny@1.0.0", "--policy", "policy.yaml"],
        *["--config", str(server.config)],
        cwd=tmp_path,
    ).refusal()

    assert (status, words in sentence) == (65, True), sentence
    shown = edgeops("fleet", "rollout", "list", "--json", "--config", server.config, cwd=tmp_path)
    assert shown.out.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "agent.yaml",
            "schema: true\ndevice: 5\nsources: [1]\n",
            ("line 1: schema", "line 2: device", "line 3: sources"),
        ),
        ("fleet.yaml", "tick: soon\nbroker: {kind: pigeon}\n", ("line 1: tick", "broker.kind")),
        (
            "recipe.yaml",
            "model: 1\nname: Not A Name\nversion: newest\ntask: {type: guess}\n",
            ("line 1: model", "line 2: name", "line 3: version", "task.type"),
        ),
    ],
)
def test_wrong_types_are_all_listed_at_once(
    tmp_path: Path, name: str, content: str, words: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(content)

    status, sentence = edgeops(*DOORS[name], name, cwd=tmp_path).refusal()

    assert status == 65
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("name", DOORS)
def test_a_file_that_cannot_be_read_ends_with_74(tmp_path: Path, name: str) -> None:
    missing = edgeops(*DOORS[name], "missing.yaml", cwd=tmp_path).refusal()
    folder = edgeops(*DOORS[name], ".", cwd=tmp_path).refusal()

    assert (missing[0], folder[0]) == (74, 74)


def test_check_lists_each_fault_on_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("schema: 1\ndevice: {id: a/b}\nsurces: {}\n")

    ended = edgeops("agent", "check", cwd=tmp_path)

    assert ended.status == 65
    assert "agent.yaml: line 2: device.id" in ended.err
    assert "agent.yaml: line 3: surces: unknown key; did you mean 'sources'?" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("option", ["--probation", "--soak", "--attempt-timeout"])
def test_a_duration_that_is_none_is_a_usage_error(tmp_path: Path, option: str) -> None:
    words = ["fleet", "rollout", "start", "tiny", "--canary", "1", option, "soon"]

    status, sentence = edgeops(*words, "--server", "http://127.0.0.1:9", cwd=tmp_path).refusal()

    assert status == 2
    assert option in sentence
