"""Convert in a child process, as a user would, and note what it took."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.calibration import calibrate
from converters.quant.planner import plan_quantization
from converters.recipe import load_recipe
from converters.session import open_session
from converters.tflite.catalog import lower_to_tflite
from tests.benchmarks.scoreboard.cases import Case
from tests.benchmarks.scoreboard.data import Fold

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Child:
    """How a child process ended."""

    status: int
    seconds: float
    peak_rss_bytes: int
    output: str
    words: str


@dataclass(frozen=True, slots=True)
class Converted:
    """A conversion's outcome; ``outcome`` is what ``edgeops convert --json`` printed."""

    folder: Path | None
    seconds: float
    peak_rss_bytes: int
    outcome: Mapping[str, object]
    words: str


def run_child(argv: Sequence[str], cwd: Path) -> Child:
    """Run a program to its end and return what it said and needed."""
    record = cwd / "taken.json"
    done = subprocess.run(
        [sys.executable, str(LAUNCHER), str(record), *argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    taken = json.loads(record.read_text())
    return Child(
        done.returncode, taken["seconds"], taken["peak_rss_bytes"], done.stdout, done.stderr
    )


def recipe_text(case: Case, data: Path, fold: Fold) -> str:
    """Return the case's recipe for one fold."""
    names = (data / "detect/coco_classes.txt").read_text().split("\n")
    coco = ", ".join(f'"{name}"' for name in names if name)
    return (
        f"model: {data / case.model}\nname: {case.name}\nversion: 1.0.0\n"
        f"{case.recipe.replace('COCO', f'[{coco}]')}\n"
        f"calibration: {{data: {fold.calibration}, samples: 100, seed: 1}}\n"
        f"evaluation: {{data: {fold.evaluation}, metric: {case.metric}, "
        f"max_drop: {case.max_drop}}}\n"
        "outputs: [{runtime: tflite, precision: int8}, {runtime: onnx, precision: int8},\n"
        "  {runtime: tflite, precision: float32}, {runtime: onnx, precision: float32}]\n"
    )


def convert(case: Case, data: Path, fold: Fold, folder: Path) -> Converted:
    """Convert one fold in a child process."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe_text(case, data, fold))
    argv = [sys.executable, "-m", "edgeops.cli", "convert", "--recipe", "recipe.yaml"]
    child = run_child([*argv, "--out", "out", "--json"], folder)
    outcome = json.loads(child.output) if child.output.strip() else {}
    bundle = outcome.get("bundle")
    return Converted(
        folder / bundle if bundle else None,
        child.seconds,
        child.peak_rss_bytes,
        outcome,
        child.words,
    )


def plain_int8_size(folder: Path) -> int:
    """Return the bytes of the TFLite file with every layer in int8, whatever that costs.

    Args:
        folder: Where ``convert`` wrote its recipe.
    """
    session = open_session(load_recipe(folder / "recipe.yaml", {}), lambda _: None)
    if session.calibration is None:
        raise ValueError("the case has no calibration data")
    plan = plan_quantization(session.graph, calibrate(session.graph, session.calibration).ranges)
    layout = session.recipe.input.layout
    return len(lower_to_tflite(session.graph, plan, image_layout=layout).data)
