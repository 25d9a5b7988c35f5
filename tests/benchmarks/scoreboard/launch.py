"""Run a program and write down what it took, from a process that is small itself.

    python launch.py RECORD.json PROGRAM [WORD…]

The system counts a child's largest memory from its fork on: one started by a large process
would seem to need at least as much.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

KIBI = 1024


def main() -> int:
    record, *argv = sys.argv[1:]
    start = time.perf_counter()
    process = subprocess.Popen(argv)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    taken = {
        "seconds": time.perf_counter() - start,
        "peak_rss_bytes": usage.ru_maxrss * KIBI,
    }
    Path(record).write_text(json.dumps(taken))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
