"""Time one model file on this machine: the runtime alone, without pre-processing."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.arrays import Array
from converters.latency import Latency, peak_rss_bytes, time_calls, time_interleaved
from edgeops.bundle import Bundle
from edgeops.clock import Clock
from edgeops.contracts.manifest import TensorSpec, Variant
from edgeops.contracts.scalars import Runtime
from edgeops.inference.arrays import numpy_dtype
from edgeops.inference.runtimes.loading import open_model, runtime_of
from edgeops.inference.runtimes.runtime import RuntimeModel
from edgeops.inference.variants import choose_variant, refusal

_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model file to time.

    Attributes:
        variant: What its bundle says of it; ``None`` for a bare file.
    """

    path: Path
    runtime: Runtime
    size_bytes: int
    variant: Variant | None = None

    @classmethod
    def bare(cls, path: Path) -> "ModelFile":
        """Return a file that is in no bundle; raises ``InferenceError``."""
        return cls(path=path, runtime=runtime_of(path), size_bytes=path.stat().st_size)

    def record(self) -> dict[str, object]:
        """Return what identifies the file, for output."""
        return {
            "runtime": self.runtime,
            "precision": self.variant.precision if self.variant else None,
            "file": self.variant.file if self.variant else self.path.name,
            "size_bytes": self.size_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Figures of one benchmark."""

    file: ModelFile
    threads: int
    latency: Latency
    peak_rss_bytes: int

    def record(self) -> dict[str, object]:
        """Return the figures as the command line prints them."""
        return {
            "variant": self.file.record(),
            "threads": self.threads,
            "latency_ms": {**self.latency.figures(), "runs": self.latency.runs},
            "peak_rss_bytes": self.peak_rss_bytes,
        }


def benchmark(file: ModelFile, *, threads: int, seconds: float, clock: Clock) -> BenchmarkResult:
    """Return how long the runtime takes for one inference on invented input.

    Raises:
        InferenceError: The file cannot be loaded or run here.
    """
    with _opened(file, threads) as model:
        tensors = [invented(spec) for spec in model.inputs]
        latency = time_calls(lambda: model.run(tensors), clock, seconds=seconds)
        return BenchmarkResult(
            file=file, threads=threads, latency=latency, peak_rss_bytes=peak_rss_bytes()
        )


def benchmark_all(
    bundle: Bundle, *, threads: int, seconds: float, clock: Clock
) -> tuple[BenchmarkResult, ...]:
    """Return the latencies of every variant that can run here, measured in turns.

    Peak memory is that of all together.

    Raises:
        InferenceError: None can run here, or one fails.
    """
    files = [
        ModelFile(
            path=bundle.path(variant.file),
            runtime=variant.runtime,
            size_bytes=variant.size_bytes,
            variant=variant,
        )
        for variant in bundle.manifest.variants
        if not refusal(variant)
    ]
    if not files:
        choose_variant(bundle.manifest)  # tells why, variant by variant
    with ExitStack() as stack:
        calls = []
        for file in files:
            model = stack.enter_context(_opened(file, threads))
            tensors = [invented(spec) for spec in model.inputs]
            calls.append(lambda model=model, tensors=tensors: model.run(tensors))
        latencies = time_interleaved(calls, clock, seconds=seconds)
    return tuple(
        BenchmarkResult(
            file=file, threads=threads, latency=latency, peak_rss_bytes=peak_rss_bytes()
        )
        for file, latency in zip(files, latencies, strict=True)
    )


def invented(spec: TensorSpec) -> Array:
    """Return noise of a tensor's shape and type; the same on every call."""
    random = np.random.default_rng(_SEED)
    dtype = numpy_dtype(spec.dtype)
    if dtype.kind == "f":
        return random.random(spec.shape, dtype=np.float32).astype(dtype)
    low, high = (0, 255) if dtype.kind == "u" else (-128, 127)
    return random.integers(low, high, spec.shape, endpoint=True).astype(dtype)


@contextmanager
def _opened(file: ModelFile, threads: int) -> Iterator[RuntimeModel]:
    model = open_model(file.path, file.runtime, threads=threads)
    try:
        yield model
    finally:
        model.close()
