"""The agent watches a machine's temperature (Numenta Anomaly Benchmark) and says when it is odd."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.realdata.linear_autoencoder import fit, write_bundle

pytestmark = pytest.mark.realdata

AGENT = (sys.executable, "-m", "edgeops.cli", "agent", "run", "--once", "--json")
SERIES = "realKnownCause/machine_temperature_system_failure.csv"
HEALTHY_SHARE = 0.15
"""The benchmark's own probationary period."""

HALF_DAY = 144
"""Samples of a window: one every five minutes."""

STEP = 12
COMPONENTS = 4


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_failing_machine_raises_an_alert_inside_a_labelled_window(
    data_dir: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    series = data_dir / "sensors/nab" / SERIES
    with series.open(newline="") as file:
        values = np.array([float(row["value"]) for row in csv.DictReader(file)])
    healthy = values[: int(len(values) * HEALTHY_SHARE)]
    fitted = fit(healthy, size=HALF_DAY, step=STEP, components=COMPONENTS)
    write_bundle(tmp_path / "bundle", fitted)
    (tmp_path / "agent.yaml").write_text(
        f"""schema: 1
device: {{id: machine-1}}
sources:
  temp: {{type: csv, path: "{series}", columns: [value], time_column: timestamp,
         window: {HALF_DAY}, step: {STEP}}}
models:
  normal: {{bundle: bundle}}
pipelines:
  temp: {{source: temp, model: normal, window: 1d}}
rules:
  odd: {{pipeline: temp, when: "anomaly() > {fitted.threshold:.6g}",
        clear: "anomaly() < {fitted.threshold / 2:.6g}", do: [log]}}
actions:
  log: {{type: log, path: alerts.jsonl}}
"""
    )

    done = subprocess.run(
        [*AGENT, "--config", str(tmp_path / "agent.yaml")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    pipeline = json.loads(done.stdout)["pipelines"]["temp"]
    assert pipeline["errors"] == 0
    assert pipeline["drops"] == {"bad_row": 12}, "the clock goes back one hour once"
    windows = json.loads((data_dir / "sensors/nab/windows.json").read_text())[SERIES]
    spans = [(_seconds(begin), _seconds(end)) for begin, end in windows]
    events = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    raised = [event["t"] for event in events if event["state"] == "raised"]
    hit = [any(begin <= t <= end for t in raised) for begin, end in spans]
    outside = [t for t in raised if not any(begin <= t <= end for begin, end in spans)]
    record_property("windows_hit", sum(hit))
    record_property("alerts_outside", len(outside))
    # Two of the four failures are seen, for two alerts outside their windows.
    assert sum(hit) >= 1, f"{len(outside)} alerts outside"
    assert len(outside) <= 2, [datetime.fromtimestamp(t, tz=UTC).isoformat() for t in outside]
