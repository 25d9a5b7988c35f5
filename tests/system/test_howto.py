"""The how-to pages are true: their commands run in order, in a new folder, as they stand."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from docs import configuration
from tests.system.howto import Block, Terminal, blocks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOWTO = DOCS / "howto"
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md"), ROOT / "README.md"])


def surroundings(home: Path) -> dict[str, str]:
    """Return a user's environment: a home of its own, our programs, no port that may be taken."""
    kept = {key: os.environ[key] for key in ("LANG", "EDGEOPS_TFLITE") if key in os.environ}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "EDGEOPS_FLEET__API__LISTEN": "127.0.0.1:0",
        "EDGEOPS_FLEET__DEVICE_HTTP__LISTEN": "127.0.0.1:0",
        "EDGEOPS_FLEET__BROKER__LISTEN": "127.0.0.1:0",
    }


def play(page: Path, folder: Path, *, cwd: Path = ROOT) -> dict[str, str]:
    """Run a page in ``cwd``; return what each terminal said, by the words that were waited for."""
    home, said = folder / "home", {}
    home.mkdir()
    variables = surroundings(home)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Terminal(folder / "first.log", cwd=cwd, variables=variables))
        others: list[tuple[Block, Terminal]] = []
        for block in blocks(page):
            if block.kind == "sh":
                first.run(block)
            elif block.kind == "background":
                log = folder / f"line-{block.line}.log"
                other = stack.enter_context(Terminal(log, cwd=cwd, variables=variables))
                others.append((block, other))
                other.start(block)
        for block, other in reversed(others):
            other.interrupt()
            said[block.until] = other.said()
        said["first"] = first.said()
    return said


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_first_fleet_works_as_written(tmp_path: Path) -> None:
    said = play(HOWTO / "first-fleet.md", tmp_path)

    assert "visual-inspection 1.0.0" in said["first"]
    assert "defect: score(defect)" in said["first"], "no alert reached the server"
    assert "the mix of labels moved" in said["first"], "the worse model was not told apart"
    assert "is aborting" in said["first"] or "is aborted" in said["first"]
    assert "slot main: committed" in said["connected to"]
    assert "slot main: rolled-back" in said["connected to"]
    for name, text in said.items():
        assert "Traceback" not in text, f"{name}:\n{text}"


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_device_alone_works_as_written(tmp_path: Path) -> None:
    said = play(HOWTO / "device-alone.md", tmp_path)

    home = tmp_path / "home/device-alone"
    assert (home / "lamp.txt").read_text().startswith("raised: unusual\ncleared: unusual\n")
    assert "rule unusual: 1 alerts" in said["first"]
    for name, text in said.items():
        assert "Traceback" not in text, f"{name}:\n{text}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "```sh\nA=1\n```\n```sh\ntest $A = 1\ncd /\n```\n```sh\ntest $PWD = /x\n```\n",
            "at line 9",
        ),
        ('```sh background until="ready"\necho rea; false\n```\n', "at line 2"),
    ],
    ids=["foreground", "background"],
)
def test_a_failing_command_of_a_page_is_noticed(tmp_path: Path, text: str, words: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)

    with pytest.raises(AssertionError, match=f"the block {words} failed"):
        play(page, tmp_path)


def edgeops(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "home").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "edgeops.cli", *words],
        cwd=folder,
        env=surroundings(folder / "home"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


AGENT = """\
schema: 1
device: {id: cam}
sources: {cam: {type: vidio, path: x.avi}}
models: {m: {slot: main}}
pipelines: {p: {source: cam, model: n}}
"""


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ("convert --recipe recipee.yaml --out b", 74, "cannot read recipee.yaml"),
        ("convert --recipe typo.yaml --out b", 65, "did you mean 'calibration'?"),
        ("convert --out b", 2, "give a MODEL or a --recipe"),
        ("bundle verify bundles", 74, "bundles is no bundle folder"),
        ("bundle verify x.edgeops", 74, "no such bundle folder or file"),
        ("keys new release --out keys", 2, "keys/release.key exists"),
        ("agent run --config agnet.yaml", 74, "cannot read agnet.yaml"),
        ("agent run --config agent.yaml", 65, "nothing is named 'n'; there are m"),
        ("agent status --config whole.yaml", 75, "no agent is running on"),
        ("agent alerts --config whole.yaml", 75, "and none has run there"),
        ("fleet serve --config flet.yaml", 74, "cannot read flet.yaml"),
        ("fleet serve --config fleet.yaml", 65, "did you mean 'release'?"),
        ("fleet devices", 75, "start one with 'edgeops fleet serve'"),
        ("fleet enroll cam --out cam", 75, "no fleet server runs on"),
        ("fleet models push bundles", 75, "no fleet server runs on"),
        ("fleet rollout start door@1.0.0 --canary 1", 75, "no fleet server runs on"),
    ],
)
def test_a_newcomers_mistake_is_answered_by_one_sentence(
    tmp_path: Path, words: str, status: int, sentence: str
) -> None:
    (tmp_path / "bundles").mkdir()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/release.key").touch()
    (tmp_path / "agent.yaml").write_text(AGENT)
    (tmp_path / "whole.yaml").write_text("schema: 1\ndevice: {id: cam}\n")
    (tmp_path / "fleet.yaml").write_text("trust: {relase: [x.pub]}\n")
    (tmp_path / "typo.yaml").write_text("callibration: {data: x.npz}\n")

    done = edgeops(tmp_path, *words.split())

    assert done.returncode == status, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == ""


def test_the_configuration_page_is_that_of_the_classes() -> None:
    assert not list(configuration.missing()), "give them a line in their class's Attributes"
    assert configuration.PAGE.read_text() == configuration.page(), (
        "run python docs/configuration.py"
    )


def test_every_command_stands_in_the_command_line_page() -> None:
    page = (DOCS / "reference/command-line.md").read_text()
    documented = set(re.findall(r"^\| `edgeops ([a-z -]+?)(?= [A-Z\[-]|`)", page, re.MULTILINE))

    found = set()
    for point in entry_points(group="edgeops.commands"):
        found |= commands_below(typer.main.get_command(point.load()), point.name)

    assert documented == found


def commands_below(command: object, name: str) -> set[str]:
    if isinstance(command, TyperGroup):
        return {
            full
            for word, below in command.commands.items()
            for full in commands_below(below, f"{name} {word}")
        }
    return {name}


def commands_of_the_readme() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^edgeops [^#\n]+", text, re.MULTILINE)


@pytest.mark.parametrize("line", commands_of_the_readme())
def test_the_readmes_commands_exist_with_their_options(tmp_path: Path, line: str) -> None:
    """An option that is not known is refused before ``--help`` is looked at."""
    done = edgeops(tmp_path, *shlex.split(line)[1:], "--help")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page}: {target}"
