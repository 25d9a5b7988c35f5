"""A device in a bad place: no disk, no broker, no time; it goes on answering and alerting."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeops.codec import canonical
from edgeops.contracts.credential import Credential
from tests.integration.test_agent_run.home import (
    CHECKOUT,
    Home,
    write_color_bundle,
    write_video,
)
from tests.system.command import edgeops

SCENES = [("green", 2.0), ("red", 2.0), ("green", 2.0)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    write_color_bundle(tmp_path / "bundle")
    write_video(tmp_path / "belt.avi", SCENES)
    made = Home(tmp_path)
    made.write_config()
    return made


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, timeout=10, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(
    not _can_mount(), reason="needs the right to mount a tmpfs in a namespace of its own (unshare)"
)


def in_namespace(home: Home, script: str) -> subprocess.CompletedProcess[str]:
    """Run the agent over its recordings after ``script``, which may mount what it likes."""
    agent = " ".join(home.command("run", "--once", "--json"))
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-ec", f"{script}\nexec {agent}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@needs_mounts
def test_a_full_disk_costs_windows_by_number_and_no_alert(home: Home) -> None:
    home.state.mkdir()
    # The smallest file system that takes a database at all, filled to its last byte after that.
    done = in_namespace(
        home,
        f"mount -t tmpfs -o size=192k tmpfs {home.state}\n"
        f"head -c 1000000 /dev/zero > {home.state}/ballast || true",
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout)
    assert summary["frames"] == 60, "answers never wait for the disk"
    assert [event["state"] for event in home.events()] == ["raised", "cleared"]
    outbox = summary["outbox"]
    assert outbox["write_errors"].get("full", 0) > 0, outbox
    assert outbox["alerts_stored"] + outbox["alerts_in_memory"] == 2, outbox


@needs_mounts
def test_a_read_only_disk_costs_windows_by_number_and_no_alert(home: Home) -> None:
    home.state.mkdir()
    done = in_namespace(home, f"mount -t tmpfs -o ro tmpfs {home.state}")

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout)
    assert summary["frames"] == 60
    assert [event["state"] for event in home.events()] == ["raised", "cleared"]
    outbox = summary["outbox"]
    assert (outbox["alerts_stored"], outbox["alerts_in_memory"]) == (0, 2)
    assert sum(outbox["write_errors"].values()) > 0


def test_a_state_folder_that_cannot_be_is_one_sentence(home: Home) -> None:
    (home.folder / "file").write_text("x")
    for place in ("file", "file/state", "/proc/state"):
        home.write_config(more=f"state_dir: {place}")
        status, sentence = edgeops(
            "agent", "run", "--once", "--config", home.config, cwd=home.folder
        ).refusal()
        assert (status, "cannot use" in sentence) == (74, True), sentence


def test_without_broker_and_server_for_the_whole_run_everything_is_kept(home: Home) -> None:
    credential = Credential(tenant="default", device="bench-1", secret="s" * 32)
    (home.folder / "credential.json").write_bytes(canonical(credential))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    home.write_config(more=f'fleet: {{url: "http://127.0.0.1:{port}", mqtt: "127.0.0.1:{port}"}}')

    summary = home.run_once()

    assert summary["frames"] == 60
    assert [event["state"] for event in home.events()] == ["raised", "cleared"]
    outbox = summary["outbox"]
    assert isinstance(outbox, dict)
    assert (outbox["alerts_held"], outbox["alerts_acked"]) == (2, 0)
    assert outbox["windows_held"] == outbox["windows_stored"] > 0
    assert (outbox["dropped"], outbox["shed"]) == ({}, {})
    again = home.run_once()["outbox"]
    assert isinstance(again, dict)
    assert again["alerts_held"] == 4, "the next start goes on holding what was never acknowledged"


def test_at_1970_alerts_are_raised_marked_and_kept(home: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.emulation.agent_1970", str(home.config)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert status["clock"] == "bad"
    assert status["wall"] < 3600
    assert status["pipelines"][0]["frames"] == 60
    events = home.events()
    assert [(event["state"], event["clock"]) for event in events] == [
        ("raised", "bad"),
        ("cleared", "bad"),
    ]
    assert status["outbox"]["alerts_stored"] == 2
    # The true time again, and the numbers and alerts of before are still there.
    alerts = json.loads(home.call("alerts", "--json").stdout)["alerts"]
    assert len(alerts) == 2
    assert home.run_once()["frames"] == 60
