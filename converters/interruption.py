"""Signals that end a conversion: it cleans up after itself, and some steps run to their end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

TERMINATED: Final = 128 + signal.SIGTERM
"""Exit status that a shell reports of a process ended by SIGTERM."""

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that temporary folders are removed."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    if not _may_handle():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is done; for steps that must not be halved.

    A signal mask would not do: another thread of a runtime could take the signal, and Python
    would still raise in this one.
    """
    if not _may_handle():
        yield
        return
    arrived: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, remember) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set by Python
        if arrived:
            signal.raise_signal(arrived[0])


def _may_handle() -> bool:
    """Whether this is the thread that Python lets change handlers; others are never interrupted."""
    return threading.current_thread() is threading.main_thread()
