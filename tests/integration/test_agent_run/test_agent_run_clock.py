"""A device without a real-time clock watches and alerts; a clock that jumps moves no rule."""

import json
import subprocess
import sys

import pytest

from tests.integration.test_agent_run.home import CHECKOUT, Home

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("wall_s", "step_s", "clocks"),
    [
        (0.0, 0.0, {"bad"}),
        (12.0, NOW_S, {"bad", "estimated"}),
        (NOW_S, 12.0 - NOW_S, {"bad", "estimated"}),
    ],
    ids=["1970", "1970-then-today", "today-then-1970"],
)
def test_alerts_are_those_of_a_device_whose_clock_is_right(
    home: Home, wall_s: float, step_s: float, clocks: set[str]
) -> None:
    words = ["-m", "tests.emulation.agent_clock", str(home.config), str(wall_s), str(step_s)]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["alerts"] == {"red": 2}
    events = home.events()
    assert [(e["state"], e["rule"]) for e in events] == [("raised", "red"), ("cleared", "red")] * 2
    assert [e["t"] for e in events] == pytest.approx([3.5, 6.0, 8.5, 11.0], abs=0.21)
    assert {e["clock"] for e in events} == clocks
    assert "Traceback" not in done.stderr
