"""How long each variant takes on this machine, measured side by side in one run."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from converters.benchmark import invented
from converters.latency import time_interleaved
from converters.outcome import JudgedVariant
from edgeops.clock import Clock
from edgeops.inference.runtimes.loading import open_model

SECONDS: Final = 0.3
"""How long each variant is run: enough for a median that a repetition confirms to a few percent."""


def timed(
    folder: Path, variants: Sequence[JudgedVariant], clock: Clock, *, threads: int
) -> tuple[JudgedVariant, ...]:
    """Return ``variants`` with their latencies; the input is noise, time does not depend on it.

    Raises:
        InferenceError: A file does not run.
    """
    with ExitStack() as stack:
        calls = []
        for variant in variants:
            output = variant.made.output
            model = open_model(folder / variant.made.file, output.runtime, threads=threads)
            stack.callback(model.close)
            tensors = [invented(spec) for spec in model.inputs]
            calls.append(lambda model=model, tensors=tensors: model.run(tensors))
        latencies = time_interleaved(calls, clock, seconds=SECONDS)
    return tuple(
        replace(variant, latency_ms=latency.figures())
        for variant, latency in zip(variants, latencies, strict=True)
    )


def fastest(variants: Sequence[JudgedVariant]) -> str | None:
    """Return the id of the variant with the lowest median; the earlier one where two are equal."""
    measured = [variant for variant in variants if "p50" in variant.latency_ms]
    if not measured:
        return None
    return min(measured, key=lambda variant: variant.latency_ms["p50"]).id
