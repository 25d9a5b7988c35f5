"""A conversion that is ended by a signal, or by a disk that fills up, leaves nothing behind."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from edgeops.testing.models import color_classifier, color_frame
from tests.system.command import edgeops

RECIPE: Final = """
model: model.onnx
name: colours
version: 1.0.0
task: {type: classification, labels: [red, green, blue], activation: none}
input: {layout: nchw, preprocess: [{scale: 0.00392156862745098}]}
calibration: {data: data.npz, samples: 10}
outputs: [{runtime: onnx, precision: int8}]
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder from which a conversion succeeds."""
    color_classifier(tmp_path / "model.onnx")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    images = np.stack([color_frame(c, width=8, height=8) for c in ("red", "green", "blue")] * 2)
    np.savez(tmp_path / "data.npz", x=images, y=np.arange(6) % 3)
    return tmp_path


class Waiting:
    """``edgeops convert`` in the middle of calibration, waiting for a sample."""

    def __init__(self, desk: Path) -> None:
        self.out = desk / "out"
        self.calls = desk / "calls"
        os.mkfifo(self.calls)
        words = ["convert", "--recipe", "recipe.yaml", "--out", "out"]
        program = PAUSING.format(calls=str(self.calls))
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            cwd=desk,
            env=os.environ | {"XDG_CONFIG_HOME": str(desk / ".config")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        watchdog = threading.Timer(60.0, self.process.kill)
        watchdog.start()
        try:
            self.calls.read_text()  # the child writes when it is there
        finally:
            watchdog.cancel()

    def end(self, number: int) -> tuple[int, str]:
        assert any(self.out.iterdir()), "it had begun to write"
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60.0)
        return self.process.returncode, err


PAUSING: Final = """
import sys, threading
from pathlib import Path
from converters import making
from edgeops import cli

real = making.quantize

def paused(*args, **words):
    session = args[0]
    next(iter(session.calibration()))
    Path({calls!r}).write_text("calibrating")
    threading.Event().wait(60.0)
    return real(*args, **words)

making.quantize = paused
raise SystemExit(cli.main(sys.argv[1:]))
"""
"""The real command, held in the middle of calibration so that the signal meets it there."""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_a_signal_during_calibration_leaves_nothing(desk: Path, number: int, status: int) -> None:
    waiting = Waiting(desk)

    found, err = waiting.end(number)

    assert found == status, err
    assert "Traceback" not in err
    assert list(waiting.out.iterdir()) == []


def test_an_earlier_bundle_survives_an_interrupted_conversion(desk: Path) -> None:
    words = ("convert", "--recipe", "recipe.yaml", "--out", "out")
    assert edgeops(*words, cwd=desk).status == 0
    before = {path: path.stat().st_mtime_ns for path in sorted((desk / "out").rglob("*"))}

    waiting = Waiting(desk)
    waiting.end(signal.SIGINT)

    assert {path: path.stat().st_mtime_ns for path in sorted((desk / "out").rglob("*"))} == before
    assert edgeops("bundle", "verify", "out/colours-1.0.0", cwd=desk).status == 0


@pytest.mark.parametrize("kilobytes", [1, 4, 16])
def test_a_disk_without_room_ends_in_a_sentence(desk: Path, kilobytes: int) -> None:
    """``ulimit -f`` ends writes as a full disk does: with an error in the middle of a file."""
    argv = [sys.executable, "-B", "-m", "edgeops.cli", "convert", "--recipe", "recipe.yaml"]
    argv += ["--out", "out"]
    done = subprocess.run(
        ["bash", "-c", f'ulimit -f {kilobytes} && exec "$@"', "bash", *argv],
        cwd=desk,
        env=os.environ | {"XDG_CONFIG_HOME": str(desk / ".config")},
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )

    assert done.returncode == 74, done.stderr
    assert "edgeops: storage: cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((desk / "out").iterdir()) == []
