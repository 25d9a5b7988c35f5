"""Memory of a running agent: proportional set size of all its processes, beside a bare loop.

    python tests/benchmarks/bench_memory.py

The bare loop is one process that imports OpenCV and ONNX Runtime and runs the same model on the
same video. The agent is the real one: supervisor and one pipeline, without a fleet.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from edgeops.demo.http_json import get_json
from edgeops.demo.render import write_belt_video, write_vibration_csv
from edgeops.demo.workshop import Workshop
from edgeops.errors import TransportError
from tests.benchmarks.machine import children_of, pss_bytes

FRAMES = 60
LIMIT_S = 60.0

BARE = """
import sys, time
import cv2, numpy as np, os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
cv2.setNumThreads(1)
options = ort.SessionOptions(); options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
capture = cv2.VideoCapture(sys.argv[2])
for _ in range(60):
    ok, frame = capture.read()
    small = cv2.cvtColor(cv2.resize(frame, (64, 64)), cv2.COLOR_BGR2RGB)
    session.run(None, {name: (small.astype(np.float32) / 255).transpose(2, 0, 1)[None].copy()})
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def process(words: list[str], folder: Path) -> Iterator["subprocess.Popen[str]"]:
    running = subprocess.Popen(
        words,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield running
    finally:
        running.terminate()
        running.communicate(timeout=10)


def agent_config(folder: Path, source: dict[str, object], bundle: Path, rule: str) -> Path:
    document = {
        "schema": 1,
        "device": {"id": "bench"},
        "state_dir": str(folder / "state"),
        "trust": {"release": [str(folder.parent / "workshop/keys/release.pub")]},
        "sources": {"s": source},
        "models": {"m": {"bundle": str(bundle)}},
        "pipelines": {"p": {"source": "s", "model": "m", "window": "2s"}},
        "rules": {"r": {"pipeline": "p", "when": rule}},
    }
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def measure_agent(folder: Path, source: dict[str, object], bundle: Path, rule: str) -> None:
    folder.mkdir()
    path = agent_config(folder, source, bundle, rule)
    words = [sys.executable, "-m", "edgeops.cli", "agent", "run", "--config", str(path)]
    with process(words, folder) as running:
        wait_for_frames(folder / "state")
        pids = [running.pid, *children_of(running.pid)]
        each = [pss_bytes(pid) / 1e6 for pid in pids]
        shown = " + ".join(f"{value:.0f}" for value in each)
        print(f"  agent: {sum(each):.0f} MB PSS (supervisor + pipeline: {shown})")


def wait_for_frames(state: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < LIMIT_S:
        with contextlib.suppress(OSError, TransportError, KeyError, json.JSONDecodeError):
            at = json.loads((state / "api.json").read_text())
            status = get_json(f"http://{at['host']}:{at['port']}/v1/status")
            if isinstance(status, dict) and isinstance(status["pipelines"], list):
                first = status["pipelines"][0]
                if isinstance(first, dict) and int(str(first["frames"])) >= FRAMES:
                    return
        time.sleep(0.2)
    raise SystemExit(f"the agent inferred fewer than {FRAMES} frames in {LIMIT_S:.0f} s")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workshop = Workshop(folder / "workshop")
        workshop.prepare()
        visual = workshop.convert("visual", model="visual-v1.onnx", version="1.0.0", serial=1)
        bearing = workshop.convert("bearing", model="bearing-v1.onnx", version="1.0.0", serial=1)
        write_belt_video(folder / "belt.avi", seed=5, seconds=8, defects=[(5.0, 7.0)])
        write_vibration_csv(folder / "v.csv", seed=7, seconds=8, faults=[(4.0, 6.0)])
        print("camera, OpenCV and ONNX Runtime:")
        bare_words = [sys.executable, "-c", BARE]
        bare_words += [str(workshop.folder / "visual-v1.onnx"), str(folder / "belt.avi")]
        with process(bare_words, folder) as running:
            if running.stdout is not None:
                running.stdout.readline()
            print(f"  bare loop: {pss_bytes(running.pid) / 1e6:.0f} MB PSS")
        camera: dict[str, object] = {
            "type": "video",
            "path": str(folder / "belt.avi"),
            "realtime": True,
            "loop": True,
        }
        measure_agent(folder / "cam", camera, visual.folder, "score(defect) > 0.6")
        print("sensor, ONNX Runtime, no OpenCV:")
        sensor: dict[str, object] = {
            "type": "csv",
            "path": str(folder / "v.csv"),
            "columns": ["accel_g"],
            "time_column": "t",
            "window": 1024,
            "step": 64,
            "realtime": True,
            "loop": True,
        }
        measure_agent(folder / "sensor", sensor, bearing.folder, "anomaly() > 1.2")


if __name__ == "__main__":
    main()
