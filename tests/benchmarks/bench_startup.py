"""How long ``edgeops --help`` takes, beside a bare interpreter and the libraries it cannot avoid.

python tests/benchmarks/bench_startup.py
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15
CASES = {
    "python -c pass": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "edgeops --version": ["-m", "edgeops.cli", "--version"],
    "edgeops --help": ["-m", "edgeops.cli", "--help"],
    "edgeops agent --help": ["-m", "edgeops.cli", "agent", "--help"],
}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):  # cases take turns, so that a busy machine is busy for all
        for name, words in CASES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            times[name].append((time.perf_counter() - began) * 1000)
    for name, values in times.items():
        print(f"{name:22} median {statistics.median(values):6.0f} ms, min {min(values):4.0f} ms")


if __name__ == "__main__":
    main()
