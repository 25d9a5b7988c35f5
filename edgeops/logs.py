"""One set-up of logging; libraries of ours set no levels and no handlers."""

import logging
import sys
from typing import Final

_LEVELS: Final = {0: logging.WARNING, 1: logging.INFO}


def set_up(verbosity: int, *, default: int | None = None) -> None:
    """Send log lines to standard error.

    Args:
        verbosity: 0 warnings, 1 information, 2 or more everything.
        default: Level where ``verbosity`` is 0 and a program wants another one (a daemon: INFO).
    """
    level = _LEVELS.get(verbosity, logging.DEBUG)
    if verbosity == 0 and default is not None:
        level = default
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )
