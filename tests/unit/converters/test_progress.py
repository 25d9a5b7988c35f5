"""Progress: a bar on a terminal, silence elsewhere, and every sample counted."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from converters.exam import npz_bytes
from converters.progress_bar import ProgressBar, shown
from converters.recipe import load_recipe
from converters.session import open_session
from tests.unit.converters.nets import conv_net, floats

RECIPE = """
model: net.onnx
name: net
version: 1.0.0
task: {type: regression}
input: {layout: nchw}
calibration: {data: x.npz, samples: 5}
raw: true
"""


class Counting:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.done = 0

    def stage(self, name: str, total: int | None = None) -> None:
        self.stages.append((name, total))
        self.done = 0

    def advance(self, count: int = 1) -> None:
        self.done += count


def test_a_pass_over_the_calibration_samples_is_counted(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(conv_net())
    (tmp_path / "x.npz").write_bytes(npz_bytes({"x": floats(1, 9, 3, 9, 9)}))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    progress = Counting()

    session = open_session(load_recipe(tmp_path / "recipe.yaml", {}), lambda _: None, progress)
    assert session.calibration is not None
    samples = sum(1 for _ in session.calibration())

    assert progress.stages[0] == ("importing the model", None)
    assert progress.stages[-1] == ("calibration samples", 5)
    assert progress.done == samples == 5


def test_a_terminal_shows_stage_count_and_words() -> None:
    screen = io.StringIO()
    bar = ProgressBar(Console(file=screen, force_terminal=True, width=100))

    with bar.drawn:
        bar.stage("calibration samples", 8)
        bar.advance(3)
        bar.drawn.refresh()
        bar.say("[bold]words[/bold] are no markup")
        bar.stage("judging onnx int8")
        bar.drawn.refresh()

    assert "calibration samples" in screen.getvalue()
    assert "3/8" in screen.getvalue()
    assert "[bold]words[/bold] are no markup" in screen.getvalue()
    assert "judging onnx int8" in screen.getvalue()


def test_nothing_is_drawn_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as bar:
        bar.stage("calibration samples", 8)
        bar.advance()
        bar.say("words")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "words\n"
