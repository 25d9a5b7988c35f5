"""The demo's child processes: our own programs, by the command line, each with its log file."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeops.codec import JsonValue
from edgeops.errors import CheckFailedError

COMMAND_LIMIT_S: Final = 90.0
STOP_LIMIT_S: Final = 8.0


def command(*words: str) -> list[str]:
    """Return the argv of ``edgeops WORDS`` with this very interpreter."""
    return [sys.executable, "-m", "edgeops.cli", *words]


def environment() -> dict[str, str]:
    """Return the environment for children: ours, and modules only from where they are installed."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"}


def run(
    *words: str, cwd: Path, config_home: Path, statuses: Sequence[int] = (0,)
) -> tuple[int, JsonValue]:
    """Run ``edgeops WORDS`` to its end; return its status and its JSON answer (or ``None``).

    Raises:
        CheckFailedError: It ended with a status that is not in ``statuses``, or hung.
    """
    shown = "edgeops " + " ".join(words)
    try:
        done = subprocess.run(
            command(*words),
            cwd=cwd,
            env={**environment(), "XDG_CONFIG_HOME": str(config_home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckFailedError(f"{shown!r} did not end within {COMMAND_LIMIT_S:.0f} s") from error
    if done.returncode not in statuses:
        tail = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise CheckFailedError(f"{shown!r} ended with {done.returncode}: {' '.join(tail)}")
    last = done.stdout.strip().splitlines()[-1:]
    answer: JsonValue = None
    if last:
        with contextlib.suppress(json.JSONDecodeError):
            answer = json.loads(last[0])
    return done.returncode, answer


@dataclass(slots=True)
class Daemon:
    """One long-running child; its standard error goes to ``log``."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    asked: bool = False

    @property
    def alive(self) -> bool:
        """Return whether it runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Cut its power: SIGKILL to the process and everything it started in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_LIMIT_S)

    def ask(self) -> None:
        """Ask it to end, once: a second SIGTERM would cut its last words short."""
        if self.alive and not self.asked:
            self.asked = True
            self.process.terminate()

    def stop(self) -> int:
        """Ask it to end, insist after a while; return its exit status."""
        self.ask()
        try:
            return self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode

    def last_words(self) -> str:
        """Return the last line of its log, for error messages."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""


def start(name: str, *words: str, cwd: Path, log: Path, out: Path | None = None) -> Daemon:
    """Start ``edgeops WORDS`` in a process group of its own.

    Args:
        name: What people call it.
        words: The command's words.
        cwd: Its working folder.
        log: Its standard error is added to this file.
        out: Its standard output is added to this file; ``None`` drops it.
    """
    with log.open("ab") as errors, (out or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen(
            command("-v", *words),
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    return Daemon(name, process, log)


@contextlib.contextmanager
def ended(daemons: dict[str, Daemon]) -> Iterator[None]:
    """End every daemon in ``daemons`` on the way out, whatever happened."""
    try:
        yield
    finally:
        for daemon in daemons.values():
            daemon.ask()
        for daemon in daemons.values():
            daemon.stop()
