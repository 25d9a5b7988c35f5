"""The whole agent on a device whose clock stands at 1970, in a process of its own.

``python -m tests.emulation.agent_1970 CONFIG`` runs the agent over its recordings and prints its
status as JSON. The machine's clock stays as it is: the agent is built with another one, in the
same way as ``agent.daemon.run_agent`` builds it.
"""

import os
import sys
import time
from pathlib import Path

from agent.config import load_config
from agent.daemon import Agent
from agent.lockfile import locked
from edgeops.console import print_json


class NoClock:
    """A device without a battery-backed clock that nobody has told the time."""

    def __init__(self) -> None:
        self._boot = time.monotonic()

    def wall(self) -> float:
        """Return seconds since 1970 UTC, as such a device counts them: from 0 at its start."""
        return time.monotonic() - self._boot

    def monotonic(self) -> float:
        """Return seconds since boot."""
        return time.monotonic()


def main(config: Path) -> None:
    """Run the agent to the end of its recordings."""
    loaded = load_config(config, os.environ)
    with locked(loaded.state_dir):
        agent = Agent(loaded, NoClock(), os.environ)
        agent.run(once=True)
        print_json(agent.status())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
