"""The command maps every deliberate error to one line and a documented status."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgeops import cli
from edgeops.errors import EdgeOpsError


def test_no_command_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("agent", "benchmark", "bundle", "convert", "demo", "evaluate", "fleet", "keys"):
        assert f"\n  {name} " in out
    assert "needs the module" not in out


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convret"]) == 2
    assert "did you mean 'convert'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["bundle", "verify", "nowhere.edgeops"], 74),
        (["bundle", "nonsense"], 2),
        (["keys", "new", "nobody"], 2),
        (["--nonsense"], 2),
        (["--version"], 0),
        (["bundle", "--help"], 0),
    ],
)
def test_exit_statuses(words: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out


def test_a_bad_document_ends_with_65(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.edgeops").write_bytes(b"no bundle")
    assert cli.main(["bundle", "verify", str(tmp_path / "x.edgeops")]) == 65
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_missing_extra_ends_with_69_and_one_line(tmp_path: Path) -> None:
    """As on a device without the server's libraries: the module cannot be found."""
    program = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"fastapi", "aiohttp", "sqlalchemy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
from edgeops.cli import main
sys.exit(main(["fleet", "serve", "--config", "none.yaml"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 69, done.stderr
    assert "see 'Install' in README.md" in done.stderr


def test_statuses_are_the_documented_ones() -> None:
    def tree(cls: type[EdgeOpsError]) -> list[type[EdgeOpsError]]:
        return [cls, *(sub for child in cls.__subclasses__() for sub in tree(child))]

    errors = tree(EdgeOpsError)
    assert {error.exit_status for error in errors} <= {1, 2, 65, 69, 70, 74, 75, 77}
