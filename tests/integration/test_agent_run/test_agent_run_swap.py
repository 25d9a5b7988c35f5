"""Swapping models in running pipelines: between two frames, back when the new one cannot run."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.host import Host
from agent.messages import STUCK_SOURCE_STATUS
from agent.pipeline import Pipeline
from agent.pipeline_port import LoadedModel, PipelineOptions
from agent.rules.evaluate import Answer
from agent.sources.options import CameraOptions, VideoOptions
from agent.supervision import Supervision, bare
from agent.update.ports import StoppingError
from edgeops.bundle import open_folder
from edgeops.clock import SystemClock
from edgeops.contracts.telemetry import Window
from edgeops.errors import EdgeOpsError, InferenceError
from tests.integration.test_agent_run.home import eventually, write_color_bundle, write_video


class Listener:
    """Notes what pipelines tell."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, float, str, str]] = []
        self.windows: list[Window] = []
        self.loads: list[str] = []
        self.ended = threading.Event()

    def loaded(self, pipeline: str, model: LoadedModel) -> None:  # noqa: ARG002  # the port's
        self.loads.append(model.digest)

    def answered(self, pipeline: str, t: float, answer: Answer, model: str) -> None:
        self.answers.append((pipeline, t, answer.result.label, model))

    def silent(self, pipeline: str, silent_s: float) -> None:
        pass

    def recording_ended(self, pipeline: str) -> None:  # noqa: ARG002  # the port's
        self.ended.set()

    def window_closed(self, pipeline: str, window: Window) -> None:  # noqa: ARG002  # the port's
        self.windows.append(window)


@contextmanager
def _host(folder: Path, *names: str, realtime: bool = True) -> Iterator[tuple[Host, Listener]]:
    clock = SystemClock()
    listener = Listener()
    supervision = Supervision(clock)
    video = VideoOptions(path=str(folder / "belt.avi"), realtime=realtime, loop=realtime)
    pipelines = [
        Pipeline(
            PipelineOptions(name=name, source=video, slot="main", window_s=0.5), listener, clock
        )
        for name in names
    ]
    host = Host(pipelines, clock, supervision.guarded)
    host.start()
    try:
        yield host, listener
    finally:
        supervision.stop()
        host.stop(5.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_video(tmp_path / "belt.avi", [("red", 4)], fps=30)
    return tmp_path


def test_without_a_bundle_a_file_waits_from_its_first_frame(folder: Path) -> None:
    bundle = write_color_bundle(folder / "right")
    with _host(folder, "belt", realtime=False) as (host, listener):
        eventually(lambda: host.status()[0].state == "waiting")
        host.activate("main", bundle, "")
        assert listener.ended.wait(20)

        assert [t for _, t, _, _ in listener.answers][:2] == [0.0, pytest.approx(1 / 30)]
        assert len(listener.answers) == 120
        assert host.is_finished()


def test_a_swap_changes_the_answers_and_begins_new_figures(folder: Path) -> None:
    right = write_color_bundle(folder / "right")
    wrong = write_color_bundle(folder / "wrong", turn=1)
    with _host(folder, "belt") as (host, listener):
        host.activate("main", right, "")
        eventually(lambda: host.health("main").frames >= 5)
        before = host.health("main")
        host.activate("main", wrong, "onnx-float32")
        eventually(lambda: host.health("main").frames >= 3)
        after = host.health("main")

    assert set(before.label_counts) == {"red"}
    assert set(after.label_counts) == {"green"}
    assert after.frames < before.frames + len(listener.answers)
    digests = [open_folder(right).digest, open_folder(wrong).digest]
    assert listener.loads == digests
    models = [model for _, _, _, model in listener.answers]
    assert models == sorted(models, key=digests.index), "no answer of the old one after the swap"
    times = [t for _, t, _, _ in listener.answers]
    assert times == sorted(times)
    assert {w.model for w in listener.windows if w.values["frames"]} == set(digests)
    assert all(len(w.labels) <= 1 for w in listener.windows), "no window mixes two models"


def test_a_bundle_that_cannot_be_loaded_leaves_the_old_one_running(folder: Path) -> None:
    right = write_color_bundle(folder / "right")
    broken = write_color_bundle(folder / "broken")
    next(broken.glob("*.onnx")).write_bytes(b"no model")
    with _host(folder, "belt", "second") as (host, listener):
        host.activate("main", right, "")
        eventually(lambda: host.health("main").frames >= 4)
        with pytest.raises(InferenceError):
            host.activate("main", broken, "")
        with pytest.raises(InferenceError, match="no variant 'tflite-int8'"):
            host.activate("main", right, "tflite-int8")
        seen = len(listener.answers)
        eventually(lambda: len(listener.answers) > seen + 5)

        assert {status.state for status in host.status()} == {"running"}
        assert {status.restarts for status in host.status()} == {0}
    assert {model for *_, model in listener.answers} == {open_folder(right).digest}


def test_a_pipe_that_dies_while_it_loads_goes_back_to_the_old_bundle(folder: Path) -> None:
    right = write_color_bundle(folder / "right")
    with _host(folder, "belt") as (host, listener):
        host.activate("main", right, "")
        eventually(lambda: host.health("main").frames >= 2)
        pid = host.status()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # it will never answer the order, and be killed for it
        with pytest.raises(InferenceError, match="did not survive: it hung in"):
            host.activate("main", write_color_bundle(folder / "new", turn=1), "")
        seen = len(listener.answers)
        eventually(lambda: len(listener.answers) > seen + 3)
        health = host.health("main")

    assert {model for *_, model in listener.answers} == {open_folder(right).digest}
    assert health.restarts >= 1, "a crash counts against the slot"


def test_a_slot_can_be_emptied_and_filled_again(folder: Path) -> None:
    right = write_color_bundle(folder / "right")
    with _host(folder, "belt") as (host, listener):
        host.activate("main", right, "")
        eventually(lambda: host.health("main").frames >= 2)
        host.activate("main", None, "")
        seen = len(listener.answers)
        assert host.status()[0].state == "waiting"
        host.activate("main", right, "")
        eventually(lambda: len(listener.answers) > seen)


def test_the_end_of_the_agent_is_no_verdict_on_the_bundle_being_loaded(folder: Path) -> None:
    bundle = write_color_bundle(folder / "right")
    raised: list[Exception] = []

    def swap(host: Host) -> None:
        try:
            host.activate("main", bundle, "")
        except EdgeOpsError as error:
            raised.append(error)

    with _host(folder, "belt") as (host, _):
        swapping = threading.Thread(target=swap, args=(host,))
        host.interrupt()
        swapping.start()
        swapping.join(20)
        assert not swapping.is_alive()
    assert [type(error) for error in raised] == [StoppingError]


@pytest.mark.parametrize(("status", "is_blamed"), [(STUCK_SOURCE_STATUS, False), (1, True)])
def test_a_driver_that_hangs_is_no_crash_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, is_blamed: bool
) -> None:
    program = tmp_path / "pipe"
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setattr("agent.pipe_process.sys.executable", str(program))
    options = PipelineOptions(
        name="yard", source=CameraOptions(device="/dev/video0"), slot="main", window_s=1.0
    )
    clock = SystemClock()
    host = Host([Pipeline(options, Listener(), clock)], clock, bare)
    host.start()
    try:
        eventually(lambda: host.status()[0].restarts > 0)
        assert (host.health("main").restarts > 0) is is_blamed
    finally:
        host.stop(5.0)
