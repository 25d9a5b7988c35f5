"""The agent counts people who enter one by one: six visits, six alerts, twice the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeops.contracts.manifest import InputSpec, Task
from edgeops.contracts.preprocess import Letterbox, Step
from edgeops.testing.bundles import make_bundle
from edgeops.trust import SigningKey

pytestmark = [pytest.mark.realdata, pytest.mark.slow, pytest.mark.timeout(600)]

AGENT = (sys.executable, "-m", "edgeops.cli", "agent", "run", "--once", "--json")
FRAMES = 1394
VISITS = [(6, 19), (24, 44), (51, 70), (75, 86), (93, 119), (124, 136)]
"""When a person is to be seen, in seconds, from the notes beside the video."""

SLACK_S = 3.0


@pytest.fixture(scope="module")
def folder(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("door")
    names = (data_dir / "detect/coco_classes.txt").read_text().split("\n")
    make_bundle(
        made / "bundle",
        task=Task(
            type="detection",
            decoder="yolox",
            labels=tuple(name for name in names if name),
            score_threshold=0.3,
        ),
        input=InputSpec(
            layout="nchw",
            preprocess=(Step(letterbox=Letterbox(size=(416, 416), pad=114)), Step(color="bgr")),
        ),
        key=SigningKey.generate(),
        onnx_path=data_dir / "detect/models/yolox_nano.onnx",
        name="yolox-nano",
        with_golden=False,
    )
    video = data_dir / "video/one-by-one-person-detection.mp4"
    (made / "agent.yaml").write_text(
        f"""schema: 1
device: {{id: door-1}}
sources:
  door: {{type: video, path: "{video}"}}
models:
  people: {{bundle: bundle}}
pipelines:
  door: {{source: door, model: people, window: 30s}}
rules:
  person: {{pipeline: door, when: "count(person) >= 1", for: 1s, clear_for: 2s, do: [log]}}
actions:
  log: {{type: log, path: alerts.jsonl}}
"""
    )
    return made


def _run(folder: Path) -> list[tuple[str, float, dict[str, float]]]:
    log = folder / "alerts.jsonl"
    log.unlink(missing_ok=True)
    done = subprocess.run(
        [*AGENT, "--config", str(folder / "agent.yaml")],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["frames"] == FRAMES
    assert summary["pipelines"]["door"]["drops"] == {}
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return [(event["state"], event["t"], event["evidence"]) for event in events]


def test_six_visits_are_six_alerts_twice_the_same(folder: Path) -> None:
    first = _run(folder)
    second = _run(folder)

    raised = [t for state, t, _ in first if state == "raised"]
    cleared = [t for state, t, _ in first if state == "cleared"]
    assert len(raised) == len(cleared) == len(VISITS), first
    for (begin, end), on, off in zip(VISITS, raised, cleared, strict=True):
        assert begin - SLACK_S <= on - 1.0 <= begin + SLACK_S, (begin, on)
        assert end - SLACK_S <= off - 2.0 <= end + SLACK_S, (end, off)
    assert second == first
