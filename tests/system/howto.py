"""Reads the shell blocks of a how-to page and runs them as somebody at three terminals would.

The info string of a block says how it is meant: ``sh`` runs in the first terminal, ``sh background
until="WORDS"`` in a terminal of its own until the page ends, ready once it has printed WORDS, and
``sh install`` is left out (the test suite stands in what it sets up).
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

BLOCK_S = 150.0
READY_S = 60.0
STOP_S = 20.0

_FENCE = re.compile(r"^```sh([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_UNTIL = re.compile(r'^background until="([^"]+)"$')


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page.

    Attributes:
        line: Where its text begins in the page.
        until: What a background block prints once it is ready.
    """

    line: int
    kind: Literal["sh", "background", "install"]
    text: str
    until: str = ""


def blocks(page: Path) -> Iterator[Block]:
    """Yield the shell blocks of ``page`` in order; an unknown info string is an error."""
    text = page.read_text()
    for fence in _FENCE.finditer(text):
        info, line = fence[1].strip(), text.count("\n", 0, fence.start()) + 2
        if match := _UNTIL.fullmatch(info):
            yield Block(line, "background", fence[2], match[1])
        elif info in {"", "install"}:
            yield Block(line, "install" if info else "sh", fence[2])
        else:
            raise ValueError(f"{page.name}, line {line}: unknown info string {info!r}")


class Terminal:
    """One bash in a session of its own; what it says goes to ``log``."""

    def __init__(self, log: Path, *, cwd: Path, variables: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as out:
            self._bash = subprocess.Popen(
                ["bash", "-euo", "pipefail"],
                cwd=cwd,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def run(self, block: Block) -> None:
        """Type a block and wait for its end."""
        mark = f"@@ line {block.line} is done @@"
        # Braces keep variables and folder for later blocks, and bash's own input to itself.
        self._type(f"{{\n{block.text}}} </dev/null\necho '{mark}'\n")
        self._wait(mark, block, BLOCK_S)

    def start(self, block: Block) -> None:
        """Type a block that goes on running; wait until it says that it is ready."""
        self._type(f"{{\n{block.text}}} </dev/null\n")
        self._wait(block.until, block, READY_S)

    def interrupt(self) -> None:
        """Press Ctrl-C: every process of the session gets SIGINT; wait until bash is gone."""
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        os.killpg(self._bash.pid, signal.SIGINT)
        self._bash.wait(STOP_S)

    def kill(self) -> None:
        """End whatever is left of the session."""
        if self._bash.stdin is not None:
            self._bash.stdin.close()
        if self._bash.poll() is None:
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait(STOP_S)

    def said(self) -> str:
        """Return everything printed so far."""
        return self.log.read_text(errors="replace")

    def _type(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text.encode())
        self._bash.stdin.flush()

    def _wait(self, words: str, block: Block, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while words not in self.said():
            ended = self._bash.poll() is not None
            if words in self.said():
                return
            why = "failed" if ended else "did not end" if time.monotonic() > deadline else ""
            assert not why, f"the block at line {block.line} {why}:\n{block.text}\n{self.said()}"
            pause.wait(0.05)
