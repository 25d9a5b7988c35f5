"""Runs every benchmark, one after the other, with the machine and versions first.

    python -m tests.benchmarks [NAME…]

Names: startup memory pipeline ingest inference scoreboard pruning.

Figures are ratios against a bare loop or a peer in the same run; nothing is asserted.
"""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.machine import describe

HERE = Path(__file__).parent
NAMES = ("startup", "memory", "pipeline", "ingest", "inference", "scoreboard", "pruning")
LIBRARIES = ("numpy", "onnxruntime", "ai-edge-litert", "opencv-python-headless", "paho-mqtt")


def main() -> int:
    wanted = sys.argv[1:] or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(describe())
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    worst = 0
    for name in wanted:
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, str(HERE / f"bench_{name}.py")], check=False)
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
