"""The command line as a person uses it: a process, an exit status, and words on standard error."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SENTENCE: Final = re.compile(r"^edgeops: ([a-z-]+): (\S.*)$")
MAX_SENTENCE: Final = 2000
TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    def refusal(self) -> tuple[int, str]:
        """Return status and sentence of a command that refused its input.

        Fails unless there is exactly one ``edgeops: code: sentence`` line, no traceback, and
        nothing on standard output that a program could take for a result.
        """
        assert "Traceback" not in self.err, self.err
        found = [line for line in self.err.splitlines() if SENTENCE.match(line)]
        assert len(found) == 1, self.err or f"status {self.status} and no word"
        assert self.status != 0, found[0]
        assert len(found[0]) <= MAX_SENTENCE, "one sentence, not a document"
        assert found[0].isprintable(), "what a stranger wrote must not steer the terminal"
        assert not self.out, self.out
        return self.status, found[0]


def edgeops(
    *words: str | Path, cwd: Path, memory: int | None = None, stdin: str | None = None
) -> Ended:
    """Run one ``edgeops`` command to its end.

    Args:
        words: After ``edgeops``.
        cwd: Working folder.
        memory: Largest address space in bytes, by ``ulimit``.
        stdin: Text on its standard input.
    """
    argv = [sys.executable, "-m", "edgeops.cli", *map(str, words)]
    if memory is not None:
        argv = ["sh", "-c", f'ulimit -v {memory // 1024} && exec "$@"', "sh", *argv]
    variables = {k: v for k, v in os.environ.items() if not k.startswith("EDGEOPS_")}
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=variables | {"XDG_CONFIG_HOME": str(cwd / ".config")},
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)
