"""Named points where a test lets the process die as a power cut would.

``EDGEOPS_FAILPOINT=outbox.after_commit:kill`` ends the process with SIGKILL at that point;
``…:kill@3`` at the third time it is reached. Unset, a point costs one dictionary look-up.
"""

import os
import signal
from typing import Final

VARIABLE: Final = "EDGEOPS_FAILPOINT"

_reached: dict[str, int] = {}


def hit(name: str) -> None:
    """Pass the point ``name``; dies here where the environment says so."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    point, _, action = wanted.partition(":")
    if point != name:
        return
    verb, _, count = action.partition("@")
    _reached[name] = _reached.get(name, 0) + 1
    if verb == "kill" and _reached[name] >= int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
