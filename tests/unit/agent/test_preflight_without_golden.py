"""A bundle without golden samples loads, and no one claims that it agreed with anything."""

import json
import subprocess
import sys
from pathlib import Path

from edgeops.testing.bundles import make_bundle
from edgeops.testing.models import COLOR_INPUT, COLOR_TASK, color_classifier
from edgeops.trust import SigningKey


def test_no_golden_samples_are_no_agreement(tmp_path: Path, release_key: SigningKey) -> None:
    color_classifier(tmp_path / "m.onnx")
    bundle = make_bundle(
        tmp_path / "bundle",
        task=COLOR_TASK,
        input=COLOR_INPUT,
        key=release_key,
        onnx_path=tmp_path / "m.onnx",
        with_golden=False,
    )
    done = subprocess.run(
        [sys.executable, "-m", "agent.preflight", str(bundle.folder), "onnx-float32"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    figures = json.loads(done.stdout)["preflight"]
    assert "golden_agreement" not in figures
    assert figures["rss_bytes"] > 0
