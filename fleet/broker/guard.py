"""``python -m fleet.broker.guard -- PROGRAM ARGUMENTS…``: a program that ends with its parent.

Some programs, Mosquitto among them, cannot be told to end when whoever started them dies. This
small process stands between: it ends its child when stdin reaches its end, passes signals on, and
gives back the child's exit status. Should it be killed itself, the kernel ends the child.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

PR_SET_PDEATHSIG: Final = 1
GRACE_S: Final = 5.0
READ_BYTES: Final = 4096
REPEAT_S: Final = 0.3
"""Mosquitto forgets an order to end that comes while it starts, so it is given again."""
PASSED_ON: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def _dies_with(parent: int) -> Callable[[], None]:
    """Return what a new child runs first: have the kernel end it with ``parent``."""
    libc = ctypes.CDLL(None)  # loaded before the fork

    def arrange() -> None:
        # SIGTERM could be forgotten (see REPEAT_S), and nobody would be left to repeat it.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before prctl took effect

    return arrange


def run(command: list[str]) -> int:
    """Run ``command`` until it or stdin ends; return its exit status, 128 + n after signal n."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []
    orders: set[int] = set()

    def pass_on(number: int, _: FrameType | None) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            orders.add(number)
        if child is None:
            early.append(number)
        elif child.returncode is None:
            child.send_signal(number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only to wake the selector
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            preexec_fn=_dies_with(os.getpid()),  # noqa: PLW1509 this process has one thread
        )
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return 127
    for missed in early:
        child.send_signal(missed)
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while child.poll() is None:
            ready = selector.select(REPEAT_S if orders else None)
            if not ready and orders:
                child.terminate()
            for key, _ in ready:
                if os.read(key.fd, READ_BYTES) or key.fd == reader:
                    continue
                selector.unregister(key.fd)
                _end(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    for _ in range(round(GRACE_S / REPEAT_S)):
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(REPEAT_S)
            return
    child.kill()
    child.wait()


def main() -> int:
    """Run the command after ``--``."""
    words = sys.argv[1:]
    if len(words) < 2 or words[0] != "--":  # noqa: PLR2004 "--" and a program
        sys.stderr.write("usage: python -m fleet.broker.guard -- PROGRAM [ARGUMENTS…]\n")
        return 2
    return run(words[1:])


if __name__ == "__main__":
    sys.exit(main())
