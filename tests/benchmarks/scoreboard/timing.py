"""Latency of several files side by side.

They take turns, one thread, so a busy machine is busy for all of them.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from converters.benchmark import invented
from edgeops.contracts.scalars import Runtime
from edgeops.inference.runtimes.loading import open_model

ROUNDS = 25
ROUND_S = 0.04


def side_by_side(files: Mapping[str, tuple[Path, Runtime]]) -> dict[str, float]:
    """Return name -> milliseconds per inference: the least of the rounds' medians."""
    models = {name: open_model(path, runtime) for name, (path, runtime) in files.items()}
    inputs = {name: [invented(spec) for spec in model.inputs] for name, model in models.items()}
    medians: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            times: list[float] = []
            end = time.perf_counter() + ROUND_S
            while not times or time.perf_counter() < end:
                start = time.perf_counter()
                model.run(inputs[name])
                times.append(time.perf_counter() - start)
            medians[name].append(statistics.median(times))
    for model in models.values():
        model.close()
    return {name: 1000 * min(values) for name, values in medians.items()}
