"""A real agent whose wall clock is wrong.

``python -m tests.emulation.agent_clock CONFIG WALL STEP``: the clock says WALL (seconds since 1970)
at the start and later jumps by STEP seconds, as a device without a battery does when it hears of
the time. Monotonic time is the machine's own.
"""

import itertools
import os
import sys
from pathlib import Path

from agent.config import load_config
from agent.daemon import Agent
from agent.lockfile import locked
from edgeops.clock import SystemClock
from edgeops.codec import canonical

STEP_AFTER_LOOKS = 4
"""So that the jump falls between two alerts however fast the recording is read."""


class WrongClock(SystemClock):
    """Starts at ``wall_s`` and jumps by ``step_s``."""

    def __init__(self, wall_s: float, step_s: float) -> None:
        self._wall_s = wall_s
        self._step_s = step_s
        self._began = self.monotonic()
        self._looks = itertools.count(1)

    def wall(self) -> float:
        passed = self.monotonic() - self._began
        has_jumped = next(self._looks) > STEP_AFTER_LOOKS
        return self._wall_s + passed + (self._step_s if has_jumped else 0.0)


def main(path: Path, wall_s: float, step_s: float) -> None:
    config = load_config(path, os.environ)
    with locked(config.state_dir):
        summary = Agent(config, WrongClock(wall_s, step_s), os.environ).run(once=True)
    sys.stdout.write(canonical(summary).decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
