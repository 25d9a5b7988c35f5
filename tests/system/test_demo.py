"""The main job, as the README's first command runs it: real programs, real broker, one command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("broker", ["builtin"])
def test_the_whole_mission_works(tmp_path: Path, broker: str) -> None:
    target = tmp_path / "demo.json"

    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgeops.cli", "demo", "--no-dashboard"),
            *("--broker", broker, "--json", str(target), "--devices", "5"),
        ],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=360,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(target.read_text())
    assert summary["ok"]
    assert all(step["ok"] for step in summary["steps"])
    names = [step["name"] for step in summary["steps"]]
    assert names == [
        "convert",
        "serve",
        "enrol",
        "roll out v1",
        "infer and alert",
        "cut the network",
        "stop a bad model",
        "kill in mid-update",
        "roll out v3",
        "count",
    ]
    counts = summary["counts"]
    assert counts["devices"] == 5
    assert counts["lost"] == counts["duplicates"] == 0
    assert counts["alerts_raised"] == counts["alerts_received"] > 0
    assert counts["windows_sent"] == counts["windows_stored"] > 0
    assert counts["updates"] >= 8
    assert counts["rollbacks"] >= 1
    assert {model["metric"] for model in summary["models"]} == {"top1", "auc"}


def test_a_folder_that_exists_is_a_usage_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeops.cli", "demo", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "exists already" in done.stderr
