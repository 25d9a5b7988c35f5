"""``edgeops benchmark --pipeline`` times the real pipe, by the command line."""

import json
import subprocess
import sys
from pathlib import Path

MODEL = Path(__file__).parents[1] / "models" / "tiny-classifier.onnx"


def test_the_pipeline_is_timed_beside_a_plain_loop() -> None:
    words = ["benchmark", str(MODEL), "--pipeline", "--seconds", "1.5", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "edgeops.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bare_fps"] > found["loop_fps"] * 0.5 > 0
    assert found["pipeline_fps"] > 0
    assert abs(found["ratio"] - found["pipeline_fps"] / found["bare_fps"]) < 1e-9
    assert found["latency_ms"]["p50"] > 0
    assert found["threads"] == 1
