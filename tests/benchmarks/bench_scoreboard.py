"""The converter's scoreboard: public models beside reference files and other tools.

    python -m tests.benchmarks.bench_scoreboard [CASE…] [--no-peers] [--out FILE.md]

Needs the folder of real models and data (EDGEOPS_DATA); for all peers also the variables of
``scoreboard.peers``. Nothing is asserted; the last column says which goals were missed.
"""

import argparse
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.machine import describe
from tests.benchmarks.scoreboard.board import measure_case
from tests.benchmarks.scoreboard.cases import CASES
from tests.benchmarks.scoreboard.table import markdown

HEAD = """# Scoreboard of the converter

Public models, converted by `edgeops convert` in a process of its own, beside the int8 files that
others published and the files that other tools make from the same float file and the same
calibration samples. Nothing is calibrated on what is judged: where a set has no second half by
nature, both halves take turns, and the figures are over all samples. Detectors are judged by
recall and precision of the float original's boxes at an overlap of one half. The ladder stops at
the first rung within budget on the judged data, and the detectors' budget (0.03) was chosen with
these photographs in view: their figures flatter. Made by

    python -m tests.benchmarks.bench_scoreboard --out docs/reference/scoreboard.md

with the folder of models and data that `EDGEOPS_DATA` names, and interpreters that have the peers
in `EDGEOPS_PEER_AEQ` and `EDGEOPS_PEER_ONNX2TF`.

"""
LIBRARIES = ("numpy", "onnx", "onnxruntime", "ai-edge-litert")


def main() -> int:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description="Run the converter's scoreboard.")
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(names)}; none means all")
    parser.add_argument("--no-peers", action="store_true", help="leave other tools out")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    words = parser.parse_args()
    unknown = [name for name in words.cases if name not in names]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(names)}")
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    data = Path(os.environ.get("EDGEOPS_DATA", default))
    if not data.is_dir():
        print("no folder of real models and data: set EDGEOPS_DATA", file=sys.stderr)
        return 2
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for case in CASES:
            if words.cases and case.name not in words.cases:
                continue
            print(f"{case.name} …", file=sys.stderr, flush=True)
            rows.append(measure_case(case, data, Path(work) / case.name, peers=not words.no_peers))
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    text = f"{describe()}; {libraries}\n\n{markdown(rows)}"
    print(text)
    if words.out is not None:
        words.out.write_text(f"{HEAD}{text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
