"""A device whose disk takes nothing any more still starts, watches and alerts."""

import json
import shutil
import subprocess

import pytest

from tests.integration.test_agent_run.home import CHECKOUT, Home

FULL = "mount -t tmpfs -o size=128k tmpfs {state}; dd if=/dev/zero of={state}/filling bs=4k || true"
READ_ONLY = "mount -t tmpfs -o size=1m tmpfs {state}; mount -o remount,ro {state}"


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, timeout=10, check=False).returncode == 0


@pytest.mark.parametrize("trouble", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_it_alerts_although_the_disk_takes_nothing(home: Home, trouble: str) -> None:
    if not _can_mount():
        pytest.skip("needs the right to mount a tmpfs in a namespace of its own (unshare)")
    home.state.mkdir()
    script = f'set -e; {trouble.format(state=home.state)}; exec "$@"'
    command = home.command("run", "--once", "--json")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["alerts"] == {"red": 2}
    assert [event["state"] for event in home.events()] == ["raised", "cleared"] * 2
    assert "Traceback" not in done.stderr
