"""Asks the agent, as a program of its own, what its pipeline costs over a plain loop."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edgeops.codec import JsonValue
from edgeops.errors import InferenceError, MissingExtraError

AGENT: Final = "agent.benchmark"
FIGURES: Final = ("bare_fps", "loop_fps", "pipeline_fps", "ratio", "loop_ratio")
START_S: Final = 120.0


def measure_pipeline(
    source: Path, *, runtime: str, precision: str, threads: int, seconds: float
) -> dict[str, float]:
    """Return inferences per second of runtime, plain loop and pipeline, and their ratios.

    Raises:
        MissingExtraError: The agent is not installed here.
        InferenceError: The agent cannot run this model; says why.
    """
    if find_spec("agent") is None or find_spec("paho") is None:
        raise MissingExtraError("benchmark --pipeline", "agent")
    words = [sys.executable, "-m", AGENT, str(source), "--seconds", str(seconds), "--json"]
    words += ["--threads", str(threads), "--runtime", runtime, "--precision", precision]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=seconds + START_S
    )
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["it said nothing"]
        raise InferenceError(f"the agent's pipeline could not be timed: {told[-1]}")
    found: JsonValue = json.loads(done.stdout)
    if not isinstance(found, dict):
        raise InferenceError("the agent's pipeline gave no figures")
    return {name: _number(found.get(name), name) for name in FIGURES}


def _number(value: JsonValue, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InferenceError(f"the agent's pipeline gave no {name}")
    return value
