"""A process killed at any point loses nothing that it was promised, and doubles nothing."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from edgeops import failpoint
from tests.unit.agent.outbox_words import opened

ROOT = Path(__file__).parents[2]
POINTS = [
    f"outbox.{when}_{what}_commit"
    for what in ("alert", "window", "ack", "shed")
    for when in ("before", "after")
]


def run_child(folder: Path, boot: str, *, alerts: int = 12, point: str = "") -> list[str]:
    """Run the child; return what it said before it ended or died."""
    variables = {**os.environ, failpoint.VARIABLE: point} if point else dict(os.environ)
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.emulation.outbox_child",
            str(folder / "outbox.sqlite"), boot, str(alerts),
        ],
        cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == (-signal.SIGKILL if point else 0), done.stderr
    return done.stdout.splitlines()


def check(folder: Path, said: list[str]) -> None:
    """Hold the database against what was said."""
    promised = {line.split()[1] for line in said if line.startswith("alert")}
    with closing(sqlite3.connect(folder / "outbox.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = [row[0] for row in db.execute("SELECT event_id FROM alert")]
        assert len(stored) == len(set(stored))
        assert promised <= set(stored)
        for stream, low, high, count in db.execute(
            "SELECT stream, min(seq), max(seq), count(*) FROM window GROUP BY stream"
        ):
            assert high - low + 1 == count, f"stream {stream} has a hole"
        state = db.execute("SELECT value FROM kv WHERE key = 'rule.defect'").fetchone()
        if stored:
            # State and alert are one: never the one without the other.
            assert state is not None
            boot = stored[-1].rpartition("-")[0]
            last = max(int(e.rpartition("-")[2]) for e in stored if e.startswith(boot))
            assert int(state[0]) == last


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_loses_nothing_promised(tmp_path: Path, point: str, count: int) -> None:
    alerts = 80 if "shed" in point else 12
    said = run_child(tmp_path, "boot1", alerts=alerts, point=f"{point}:kill@{count}")
    check(tmp_path, said)

    again = run_child(tmp_path, "boot2")
    assert again[-1] == "end"
    check(tmp_path, [*said, *again])


@pytest.mark.parametrize("point", ["outbox.before_salvage", "outbox.before_salvage_commit"])
def test_a_kill_while_salvaging_loses_nothing_that_could_be_read(
    tmp_path: Path, point: str
) -> None:
    said = run_child(tmp_path, "boot1")
    path = tmp_path / "outbox.sqlite"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4096)
        file.write(os.urandom(4096))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",)
    run_child(tmp_path, "boot2", point=f"{point}:kill")

    third = opened(tmp_path, boot="boot3")
    try:
        assert third.notices
        promised = {line.split()[1] for line in said if line.startswith("alert")}
        found = {event.event_id for event in third.recent_alerts(1000)}
        assert len(found & promised) >= len(promised) // 2
        assert third.flush(5.0)
    finally:
        third.close()
    assert not list(tmp_path.glob("*.unsalvaged"))
