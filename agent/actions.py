"""All actions of the configuration, each on its own thread; exchanged as a whole on a reload."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from agent.sinks.opening import open_sink
from agent.sinks.options import ActionOptions
from agent.sinks.sink import SinkStatus, SinkThread
from edgeops.clock import Clock
from edgeops.contracts.alert import AlertEvent

STOP_S: Final = 1.0


class Actions:
    """Hands each alert to the actions that its rule names."""

    def __init__(self, clock: Clock, guarded: Callable[[str, Callable[[], None]], None]) -> None:
        self._clock = clock
        self._guarded = guarded
        self._lock = threading.Lock()
        self._options: dict[str, ActionOptions] = {}
        self._threads: dict[str, SinkThread] = {}

    def change(self, wanted: Mapping[str, ActionOptions]) -> None:
        """Start new and changed actions, stop those that are gone; the others go on."""
        with self._lock:
            gone = [name for name, old in self._options.items() if wanted.get(name) != old]
            stopped = [self._threads.pop(name) for name in gone]
            for name, options in wanted.items():
                if name not in self._threads:
                    thread = SinkThread(name, open_sink(options), self._guarded)
                    thread.start()
                    self._threads[name] = thread
            self._options = dict(wanted)
        for thread in stopped:
            thread.stop(STOP_S)

    def submit(self, event: AlertEvent, names: Iterable[str]) -> None:
        """Hand one event to the named actions; never waits."""
        with self._lock:
            threads = [self._threads[name] for name in names if name in self._threads]
        for thread in threads:
            thread.submit(event)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything was delivered or given up; return whether it was."""
        until = self._clock.monotonic() + timeout_s
        with self._lock:
            threads = list(self._threads.values())
        return all(thread.flush(max(0.0, until - self._clock.monotonic())) for thread in threads)

    def stop(self) -> None:
        """End all of them at once, in about ``STOP_S`` seconds."""
        with self._lock:
            threads = list(self._threads.values())
        enders = [threading.Thread(target=thread.stop, args=(STOP_S,)) for thread in threads]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join(STOP_S + 1.0)

    def status(self) -> tuple[SinkStatus, ...]:
        """Return how each does."""
        with self._lock:
            return tuple(thread.status() for thread in self._threads.values())
