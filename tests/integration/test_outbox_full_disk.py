"""A real file system that is full, or not ours to write, costs windows and never an alert."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.agent.outbox_words import alert, opened, window

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, timeout=10, check=False).returncode == 0


def test_a_full_disk_costs_windows_and_never_an_alert(tmp_path: Path) -> None:
    if not _can_mount():
        pytest.skip("needs the right to mount a tmpfs in a namespace of its own (unshare)")
    mount = f"mount -t tmpfs -o size=2m tmpfs {tmp_path}"
    run = f"exec {sys.executable} -m tests.emulation.full_disk_child {tmp_path}"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{mount} && {run}"],
        cwd=ROOT,
        capture_output=True,
        timeout=90,
        check=True,
    )
    told = json.loads(done.stdout)

    assert told["before"]
    assert told["errors"].get("full", 0) > 0, told
    assert told["slowest_put_s"] < 0.5, "a caller waited for the disk"
    assert told["in_memory"] > 0
    assert told["offered"] == 201, "alerts in memory go home all the same"
    assert told["after"], "it recovers once there is room"
    assert told["held"] == 201
    stored_or_counted = told["windows"] + sum(told["dropped"].values())
    assert stored_or_counted == 2001
    assert told["high"] == told["windows"], "numbers have no holes"
    assert set(told["dropped"]) <= {"window_disk_full", "window_queue_full"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_folder_that_may_not_be_written_is_survived_and_healed() -> None:
    # pytest's own folder is closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        _check_foreign_folder(Path(folder))


def _check_foreign_folder(tmp_path: Path) -> None:
    child = """
import os, sys, json
from pathlib import Path
from tests.unit.agent.outbox_words import alert, opened, window
os.setgid({nobody}); os.setuid({nobody})
outbox = opened(Path(sys.argv[1]))
outbox.put_alert(alert(1), None)
refused = outbox.flush(0.3)
errors = dict(outbox.counters().write_errors)
print(json.dumps([refused, errors, len(outbox.notices)]), flush=True)
sys.stdin.readline()
print(json.dumps([outbox.flush(20.0), outbox.counters().alerts_held]), flush=True)
outbox.close()
"""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    with subprocess.Popen(
        [sys.executable, "-c", child.format(nobody=NOBODY), str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            refused, errors, notices = json.loads(process.stdout.readline())
            assert not refused
            assert sum(errors.values()) > 0
            assert notices == 1
            folder.chmod(0o777)
            process.stdin.write("\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == [True, 1]
        finally:
            process.kill()


def test_a_file_in_place_of_the_folder_is_survived_and_healed(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("not a folder")
    outbox = opened(blocked)
    try:
        outbox.put_alert(alert(1), {"rule": b"x"})
        assert not outbox.flush(0.2)
        assert outbox.load_state("rule") == b"x"
        assert [event.event_id for event in outbox.unacked_alerts(5)] == ["boot1-1"]
        blocked.unlink()
        assert outbox.flush(20.0)
        assert outbox.counters().alerts_held == 1
    finally:
        outbox.close()


Break = Callable[[Path], None]


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _garbage(path: Path) -> None:
    path.write_bytes(b"this was a photograph" * 1000)


def _hole(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(8 * 4096))


@pytest.mark.parametrize("damage", [_truncate, _garbage, _hole])
def test_a_damaged_database_is_set_aside_and_what_can_be_read_is_saved(
    tmp_path: Path, damage: Break
) -> None:
    first = opened(tmp_path)
    for number in range(400):
        first.put_alert(alert(number), {"rule": b"firing"})
    assert first.flush(10.0)
    first.close()
    damage(tmp_path / "outbox.sqlite")

    second = opened(tmp_path, boot="boot2")
    try:
        assert (tmp_path / "outbox.sqlite.corrupt-1").exists()
        assert "set aside as outbox.sqlite.corrupt-1" in second.notices[0]
        assert second.counters().resets == 1
        saved = second.counters().alerts_held
        assert saved >= (0 if damage is _garbage else 100)
        second.put_alert(alert(1, boot="boot2"), None)
        assert second.flush(10.0)
        assert second.counters().alerts_held == saved + 1
        ids = [event.event_id for event in second.unacked_alerts(1000)]
        assert len(ids) == len(set(ids)) == saved + 1
    finally:
        second.close()


def test_a_database_damaged_while_it_runs_is_replaced_and_numbers_go_on(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    try:
        for number in range(1, 6):
            outbox.put_alert(alert(number), None)
            outbox.put_window("belt", window(number))
        assert outbox.flush(10.0)
        with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as db:
            db.execute("DROP TABLE alert")
        outbox.put_alert(alert(6), None)
        outbox.put_window("belt", window(6))
        assert outbox.flush(30.0)

        assert [event.event_id for event in outbox.unacked_alerts(9)] == ["boot1-6"]
        assert [(span.low, span.high) for span in outbox.spans()] == [(1, 6)], "windows were saved"
        assert outbox.counters().resets == 1
        assert outbox.notices
    finally:
        outbox.close()


@pytest.mark.parametrize("pattern", ["*", "*-wal"])
def test_a_database_removed_while_it_runs_is_made_again(tmp_path: Path, pattern: str) -> None:
    outbox = opened(tmp_path)
    try:
        outbox.put_alert(alert(1), None)
        assert outbox.flush(5.0)
        for path in tmp_path.glob(pattern):
            path.unlink()
        outbox.put_alert(alert(2), None)
        assert outbox.flush(30.0)
        assert (tmp_path / "outbox.sqlite").exists()
        assert outbox.unacked_alerts(5)[0].event_id == "boot1-2"
    finally:
        outbox.close()
