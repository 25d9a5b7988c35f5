"""A folder with everything one agent needs, and the agent as a real process."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from edgeops.contracts.telemetry import Window
from edgeops.testing import models
from edgeops.testing.bundles import make_bundle
from edgeops.trust import SigningKey

FPS = 10
CHECKOUT = Path(__file__).resolve().parents[3]

RED_RULE = (
    'red: {pipeline: belt, when: "score(red) > 0.6", for: 0.5s, '
    'clear: "score(red) < 0.4", clear_for: 1s, severity: high, do: [log]}'
)


def write_video(path: Path, scenes: Sequence[tuple[str, float]], *, fps: int = FPS) -> None:
    """Write an MJPEG video of plain colours; ``scenes`` are (color, seconds)."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    assert writer.isOpened()
    for color, seconds in scenes:
        frame = cv2.cvtColor(models.color_frame(color, width=64, height=48), cv2.COLOR_RGB2BGR)
        for _ in range(round(seconds * fps)):
            writer.write(frame)
    writer.release()


def write_color_bundle(folder: Path, *, turn: int = 0, nan: bool = False) -> Path:
    """Write a signed bundle of the colour classifier; return its folder."""
    model = models.color_classifier(folder.with_suffix(".onnx"), turn=turn, nan=nan)
    make_bundle(
        folder,
        task=models.COLOR_TASK,
        input=models.COLOR_INPUT,
        key=SigningKey.generate(),
        onnx_path=model,
        with_golden=not nan,
    )
    return folder


def write_signal_bundle(folder: Path) -> Path:
    """Write a signed bundle that finds values outside -1..1 in 16 samples strange."""
    make_bundle(
        folder,
        task=models.ANOMALY_TASK,
        input=models.ANOMALY_INPUT,
        key=SigningKey.generate(),
        onnx_path=models.clipping_autoencoder(folder.with_suffix(".onnx")),
    )
    return folder


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one agent."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "agent.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def write_config(
        self,
        *,
        sources: str = "belt: {type: video, path: belt.avi}",
        pipelines: str = "belt: {source: belt, model: vis, window: 2s}",
        rules: str = RED_RULE,
        actions: str = "log: {type: log, path: alerts.jsonl}",
        more: str = "",
    ) -> None:
        """Write ``agent.yaml`` around the given sections."""
        self.config.write_text(
            "schema: 1\n"
            "device: {id: bench-1, site: plant-7}\n"
            "models:\n  vis: {bundle: bundle}\n"
            f"sources:\n  {sources}\n"
            f"pipelines:\n  {pipelines}\n"
            f"rules:\n  {rules}\n"
            f"actions:\n  {actions}\n"
            f"{more}\n"
        )

    def events(self, name: str = "alerts.jsonl") -> list[dict[str, object]]:
        """Return what the log action has written."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "edgeops.cli", "agent", *words, "--config", str(self.config)]

    def call(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one ``edgeops agent`` command to its end."""
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=os.environ,
            cwd=CHECKOUT,
        )

    def run_once(self, timeout: float = 60.0) -> dict[str, object]:
        """Run the agent over its recordings and return its summary."""
        done = self.call("run", "--once", "--json", timeout=timeout)
        assert done.returncode == 0, done.stderr
        summary: dict[str, object] = json.loads(done.stdout)
        return summary

    @contextlib.contextmanager
    def running(self) -> Iterator["RunningAgent"]:
        """Run the agent in the background; ends it by its id."""
        with (self.folder / "agent.log").open("ab") as log:
            child = subprocess.Popen(
                self.command("run", "--json"),
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=CHECKOUT,
            )
        agent = RunningAgent(self, child)
        try:
            yield agent
        finally:
            if child.poll() is None:
                child.kill()
            child.wait(10)
            if child.stdout is not None:
                child.stdout.close()


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """An agent process."""

    home: Home
    child: subprocess.Popen[bytes]

    def status(self) -> dict[str, object] | None:
        """Return its status, or ``None`` while it does not answer."""
        done = self.home.call("status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def pipeline(self, name: str = "belt") -> dict[str, object]:
        """Return one pipeline's status, empty while there is none."""
        status = self.status() or {}
        found = status.get("pipelines", [])
        assert isinstance(found, list)
        return next((p for p in found if p["name"] == name), {})

    def log(self) -> str:
        return (self.home.folder / "agent.log").read_text()

    def stop(self) -> float:
        """Send SIGTERM and return how many seconds the agent took to end."""
        began = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(15) == 0, self.log()
        return time.monotonic() - began


def eventually(condition: Callable[[], bool], *, within: float = 20.0, what: str = "") -> None:
    """Wait until ``condition`` holds; fails after ``within`` seconds."""
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, f"not within {within} s: {what or condition}"
        select.select([], [], [], 0.05)


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def number(value: object) -> float:
    """Return a JSON number."""
    assert isinstance(value, int | float)
    return float(value)


def frames_of(windows: Sequence[Window]) -> float:
    """Return how many frames some windows speak of."""
    return sum(window.values["frames"] for window in windows)
