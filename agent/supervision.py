"""The one broad ``except`` of the agent: our own bug in one part must not end the others."""

import logging
import threading
from collections.abc import Callable

from edgeops.backoff import Backoff
from edgeops.clock import Clock

logger = logging.getLogger(__name__)

Guard = Callable[[str, Callable[[], None]], None]
"""Runs the body of the named thread until it returns."""


def bare(_name: str, body: Callable[[], None]) -> None:
    """Run a body without any protection; for parts that are tested alone."""
    body()


class Supervision:
    """Runs bodies of threads; one that raises is logged with its traceback and run again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Run nothing again from now on."""
        self._stopping.set()

    def guarded(self, name: str, body: Callable[[], None]) -> None:
        """Run ``body`` until it returns; after an exception again, with a growing pause."""
        backoff = Backoff(base_s=1.0, cap_s=60.0)
        while True:
            began = self._clock.monotonic()
            try:
                body()
            except Exception:
                logger.exception("%s failed and is started again", name)
            else:
                return
            backoff.lived(self._clock.monotonic() - began)
            if self._stopping.wait(backoff.next_s()):
                return
