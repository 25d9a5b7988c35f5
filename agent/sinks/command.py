"""Alerts as runs of a program."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from typing import Final

from agent.sinks.options import CommandOptions
from agent.sinks.sink import SinkError
from edgeops import codec
from edgeops.contracts.alert import AlertEvent

PLACEHOLDERS: Final = ("rule", "state", "severity", "device", "alert_id", "pipeline")
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
MAX_STDERR: Final = 2000


def unknown_placeholders(argv: tuple[str, ...]) -> list[str]:
    """Return the placeholders that no event fills."""
    found = (name for word in argv for name in _PLACEHOLDER.findall(word))
    return [name for name in found if name not in PLACEHOLDERS]


def filled(argv: tuple[str, ...], event: AlertEvent) -> list[str]:
    """Return the arguments with the event's words in place of the placeholders."""
    words = {
        "rule": event.rule,
        "state": event.state,
        "severity": event.severity,
        "device": event.device,
        "alert_id": event.alert_id,
        "pipeline": event.pipeline,
    }
    return [_PLACEHOLDER.sub(lambda m: words.get(m[1], m[0]), word) for word in argv]


class CommandSink:
    """Runs the program once per event; the event stands on its standard input as JSON."""

    def __init__(self, options: CommandOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    def deliver(self, event: AlertEvent) -> None:
        """Run the program; raises ``SinkError`` where it is missing, fails, or takes too long."""
        argv = filled(self._options.argv, event)
        with self._lock:
            if self._closed:
                raise SinkError("is stopping")
            try:
                child = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise SinkError(f"cannot run {argv[0]}: {error.strerror or error}") from error
            self._running = child
        try:
            _, written = child.communicate(codec.canonical(event), timeout=self._options.timeout)
        except subprocess.TimeoutExpired:
            _kill_group(child)
            raise SinkError(
                f"{argv[0]} ran longer than {self._options.timeout:g} s and was killed"
            ) from None
        finally:
            with self._lock:
                self._running = None
        if child.returncode != 0:
            words = written[-MAX_STDERR:].decode(errors="replace").strip().splitlines()
            last = f": {words[-1]}" if words else ""
            raise SinkError(f"{argv[0]} ended with {child.returncode}{last}")

    def close(self) -> None:
        """Kill a program that still runs."""
        with self._lock:
            self._closed = True
            if self._running is not None:
                _kill_group(self._running)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """End the program and whatever it left behind in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.poll() is None:
        child.wait()
    for stream in (child.stdin, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
