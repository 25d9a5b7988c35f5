"""The machine in one line: figures mean nothing without it."""

import os
import platform
from pathlib import Path


def describe() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[0]
    cores = os.cpu_count()
    return f"{model}, {cores} cores, load {load:.2f}, Python {platform.python_version()}"


def pss_bytes(pid: int) -> int:
    """Proportional set size of one process: shared pages count by their share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def children_of(pid: int) -> list[int]:
    """Every descendant of ``pid``."""
    tasks = Path(f"/proc/{pid}/task").iterdir()  # a child belongs to the thread that started it
    found = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    return found + [below for child in found for below in children_of(child)]
