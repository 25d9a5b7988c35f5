"""The port of a sink, and the thread that keeps a slow one from delaying anybody."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from edgeops.contracts.alert import AlertEvent
from edgeops.errors import EdgeOpsError

logger = logging.getLogger(__name__)

QUEUE: Final = 256


class SinkError(EdgeOpsError):
    """An alert could not be delivered; counted, never raised into the pipelines."""

    code = "sink"
    exit_status = 74


class Sink(Protocol):
    """One place that alerts go to; used by one thread."""

    def deliver(self, event: AlertEvent) -> None:
        """Deliver one event, within a bounded time; raises ``SinkError``."""
        ...

    def close(self) -> None:
        """Give back what it holds and let a running ``deliver`` end soon; from any thread."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """One action for people and the local API."""

    name: str
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    waiting: int = 0
    last_error: str = ""


class SinkThread:
    """Delivers events in their order on a thread of its own.

    The queue is bounded: while the sink hangs, what comes past ``QUEUE`` events is dropped and
    counted. The outbox holds every alert all the same.

    Args:
        guarded: Runs the thread's body and survives our own bugs.
    """

    def __init__(
        self, name: str, sink: Sink, guarded: Callable[[str, Callable[[], None]], None]
    ) -> None:
        self.name = name
        self._sink = sink
        self._changed = threading.Condition()
        self._events: deque[AlertEvent] = deque()
        self._busy = False
        self._stopping = False
        self._delivered = self._failed = self._dropped = 0
        self._last_error = ""
        self._thread = threading.Thread(
            target=guarded, args=(f"action {name}", self._run), name=f"action-{name}", daemon=True
        )

    def start(self) -> None:
        """Start delivering."""
        self._thread.start()

    def submit(self, event: AlertEvent) -> None:
        """Take one event; never waits."""
        with self._changed:
            if len(self._events) >= QUEUE or self._stopping:
                self._dropped += 1
                return
            self._events.append(event)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left to deliver; return whether that came about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._events and not self._busy, timeout_s)

    def stop(self, timeout_s: float) -> None:
        """End the thread; what was not delivered counts as dropped."""
        with self._changed:
            self._stopping = True
            self._dropped += len(self._events)
            self._events.clear()
            self._changed.notify_all()
        self._sink.close()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning("action %s: still busy at the end", self.name)

    def status(self) -> SinkStatus:
        """Return how it does."""
        with self._changed:
            return SinkStatus(
                name=self.name,
                delivered=self._delivered,
                failed=self._failed,
                dropped=self._dropped,
                waiting=len(self._events),
                last_error=self._last_error,
            )

    def _run(self) -> None:
        while (event := self._next()) is not None:
            error = ""
            try:
                self._sink.deliver(event)
            except SinkError as failure:
                error = str(failure)
                logger.warning("action %s: %s", self.name, error)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
            with self._changed:
                self._delivered += not error
                self._failed += bool(error)
                self._last_error = error or self._last_error

    def _next(self) -> AlertEvent | None:
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._stopping)
            if self._stopping:
                return None
            self._busy = True
            return self._events.popleft()
