"""Signals: SIGTERM unwinds the stack, and a step that must be whole is."""

import os
import signal
import threading
from pathlib import Path

import pytest

from converters.interruption import TERMINATED, ending_cleanly, undisturbed
from converters.work_folder import work_folder
from edgeops.errors import StorageError


def test_sigterm_runs_the_cleaning_up(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    left = tmp_path / "left"
    left.touch()

    def work() -> None:
        with ending_cleanly():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                left.unlink()

    with pytest.raises(SystemExit) as ended:
        work()

    assert ended.value.code == TERMINATED == 143
    assert not left.exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("sender", ["this-thread", "another-thread"])
def test_a_signal_waits_for_the_end_of_an_undisturbed_step(sender: str) -> None:
    """Also where another thread takes it, as those of a runtime may."""
    done: list[str] = []

    def step() -> None:
        with undisturbed():
            if sender == "this-thread":
                signal.raise_signal(signal.SIGINT)
            else:
                other = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT))
                other.start()
                other.join()
            done.append("half")
            done.append("whole")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        step()

    assert done == ["half", "whole"]


def test_threads_that_cannot_be_interrupted_are_left_alone() -> None:
    done: list[str] = []

    def step() -> None:
        with ending_cleanly(), undisturbed():
            done.append("done")

    other = threading.Thread(target=step)
    other.start()
    other.join()

    assert done == ["done"]


def test_a_work_folder_is_gone_afterwards(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with work_folder(out) as work:
        (work / "half").touch()
        assert [path.name for path in out.iterdir()] == [work.name]
    assert list(out.iterdir()) == []


def test_what_a_killed_conversion_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = tmp_path / ".making.0123abcd"
    killed.mkdir()
    (killed / "lock").touch()
    (killed / "half.onnx").touch()

    with work_folder(tmp_path) as work:
        assert not killed.exists()
        with work_folder(tmp_path) as other:
            assert work.exists(), "a running conversion's folder is left alone"
            assert other != work

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="cannot write into"), work_folder(tmp_path / "file"):
        pass
