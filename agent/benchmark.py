"""What the agent's pipeline costs over the bare runtime, measured side by side on this machine.

    python -m agent.benchmark BUNDLE_OR_MODEL --seconds 10 --json

Three loops take turns in short rounds, so that a busy machine slows all three alike: the runtime
alone, a plain loop of pre-processing and inference, and the real pipe in its own process.
"""

import argparse
import dataclasses
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from agent.benchmark_samples import bundle_around, samples_for
from agent.messages import Load, Loaded, LoadFailed, Results, Setup
from agent.packets import PeerGoneError
from agent.pipe_process import PipeProcess
from agent.sources.options import RepeatOptions, to_plain
from edgeops import codec
from edgeops.bundle import MANIFEST, Bundle, open_folder, unpack
from edgeops.clock import Clock, SystemClock
from edgeops.console import print_json, say
from edgeops.contracts.manifest import Variant
from edgeops.contracts.preprocess import ColorOrder
from edgeops.durable import write_atomic
from edgeops.errors import EdgeOpsError, InferenceError
from edgeops.inference.model import Model
from edgeops.inference.runtimes.loading import open_model, runtime_of
from edgeops.inference.variants import choose_variant

ROUNDS: Final = 5
LOAD_S: Final = 120.0
SHARE_WARM_UP: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCost:
    """Samples per second of the three loops, each the median of its rounds.

    Attributes:
        bare_fps: The runtime alone on a ready tensor.
        loop_fps: Pre-processing and inference in a plain loop.
        pipeline_fps: The agent's pipe: source, pre-processing, inference, decoding, result sent.
        ratio: ``pipeline_fps / bare_fps``.
        loop_ratio: ``pipeline_fps / loop_fps``.
    """

    variant: str
    threads: int
    rounds: int
    bare_fps: float
    loop_fps: float
    pipeline_fps: float
    ratio: float
    loop_ratio: float


class PipeLoop:
    """The real pipe, running only while it is measured."""

    def __init__(self, folder: Path, variant: Variant, samples: Path, threads: int) -> None:
        self._folder = folder
        self._variant = variant.id
        self._clock: Clock = SystemClock()
        self._number = 0
        self._process = PipeProcess("benchmark")
        source = dict(to_plain(RepeatOptions(path=str(samples))))
        self._process.send(Setup(pipeline="benchmark", source=source, threads=threads))

    def rate(self, seconds: float) -> float:
        """Let the pipe run for ``seconds`` and return its samples per second."""
        self._load(str(self._folder))
        self._count(seconds * SHARE_WARM_UP)
        rate = self._count(seconds * (1.0 - SHARE_WARM_UP))
        self._load(None)
        return rate

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.end(LOAD_S)

    def _count(self, seconds: float) -> float:
        began = self._clock.monotonic()
        counted, now = 0, began
        while now - began < seconds:
            message = self._process.receive(0.1)
            if isinstance(message, Results):
                faults = [item for item in message.items if item.result is None]
                if faults:
                    raise InferenceError(f"the pipe cannot run this model: {faults[0].detail}")
                counted += len(message.items)
            now = self._clock.monotonic()
        return counted / (now - began)

    def _load(self, folder: str | None) -> None:
        self._number += 1
        self._process.send(Load(number=self._number, folder=folder, variant=self._variant))
        until = self._clock.monotonic() + LOAD_S
        while self._clock.monotonic() < until:
            message = self._process.receive(0.1)
            if isinstance(message, LoadFailed) and message.number == self._number:
                raise InferenceError(message.reason)
            if isinstance(message, Loaded) and message.number == self._number:
                return
        raise InferenceError(f"the pipe did not load the model within {LOAD_S:g} s")


def measure(
    bundle: Bundle, variant: Variant, *, seconds: float, threads: int, workdir: Path
) -> PipelineCost:
    """Measure one variant for about ``seconds`` seconds.

    Raises:
        InferenceError: The model cannot be loaded or run here.
    """
    samples = samples_for(bundle, variant)
    np.savez(workdir / "samples.npz", x=samples)
    model = Model.load(bundle, variant, threads=threads)
    runtime = open_model(bundle.path(variant.file), variant.runtime, threads=threads)
    color = model_color(samples)
    ready = [np.array(tensor) for tensor in model.preprocess(samples[0], color).tensors]
    turn = 0

    def bare() -> None:
        for tensor in ready:
            runtime.run((tensor,))

    def plain() -> None:
        nonlocal turn
        turn += 1
        for tensor in model.preprocess(samples[turn % len(samples)], color).tensors:
            runtime.run((tensor,))

    pipe = PipeLoop(bundle.folder, variant, workdir / "samples.npz", threads)
    round_s = seconds / (3 * ROUNDS)
    rates: dict[str, list[float]] = {"bare": [], "plain": [], "pipe": []}
    try:
        for _ in range(ROUNDS):
            rates["bare"].append(rate_of(bare, round_s))
            rates["plain"].append(rate_of(plain, round_s))
            rates["pipe"].append(pipe.rate(round_s))
    finally:
        pipe.close()
        runtime.close()
        model.close()
    bare_fps, loop_fps, pipeline_fps = (statistics.median(found) for found in rates.values())
    return PipelineCost(
        variant=variant.id,
        threads=threads,
        rounds=ROUNDS,
        bare_fps=bare_fps,
        loop_fps=loop_fps,
        pipeline_fps=pipeline_fps,
        ratio=pipeline_fps / bare_fps,
        loop_ratio=pipeline_fps / loop_fps,
    )


def rate_of(work: Callable[[], None], seconds: float) -> float:
    """Return how often per second ``work`` runs, after a short warm-up."""
    clock = SystemClock()
    warm_until = clock.monotonic() + seconds * SHARE_WARM_UP
    while clock.monotonic() < warm_until:
        work()
    began = clock.monotonic()
    runs = 0
    while (now := clock.monotonic()) - began < seconds * (1.0 - SHARE_WARM_UP):
        work()
        runs += 1
    return runs / (now - began)


def model_color(samples: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> ColorOrder | None:
    """Return the channel order that the pipe's source says for these samples."""
    return "bgr" if samples.dtype == np.uint8 and samples.ndim == 4 else None  # noqa: PLR2004


def open_any(path: Path, workdir: Path) -> Bundle:
    """Return a bundle, a packed bundle, or a bare model file as a bundle in ``workdir``."""
    if path.is_dir():
        return open_folder(path)
    if path.suffix in {".onnx", ".tflite", ".lite"}:
        folder = workdir / "bare"
        folder.mkdir()
        file = f"model{path.suffix}"
        shutil.copyfile(path, folder / file)
        loaded = open_model(folder / file, runtime_of(path))
        bundle = bundle_around(folder, file, runtime_of(path), loaded.inputs, loaded.outputs)
        loaded.close()
        data = codec.canonical(bundle.manifest)
        write_atomic(folder / MANIFEST, data)
        return dataclasses.replace(bundle, manifest_bytes=data)
    return unpack(path, workdir / "bundle")


def main(arguments: Sequence[str]) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m agent.benchmark", description=__doc__)
    parser.add_argument("bundle", type=Path, help="bundle folder or file, or a model file")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime", choices=("auto", "onnx", "tflite"), default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="edgeops-benchmark-") as folder:
            bundle = open_any(options.bundle, Path(folder))
            variant = choose_variant(
                bundle.manifest, runtime=options.runtime, precision=options.precision
            )
            cost = measure(
                bundle,
                variant,
                seconds=options.seconds,
                threads=options.threads,
                workdir=Path(folder),
            )
    except (EdgeOpsError, PeerGoneError) as error:
        say(f"edgeops: {error.code}: {error}")
        return error.exit_status
    if options.json:
        print_json(cost)
    else:
        say(
            f"{cost.variant}: runtime {cost.bare_fps:.1f}/s, plain loop {cost.loop_fps:.1f}/s, "
            f"pipeline {cost.pipeline_fps:.1f}/s ({cost.ratio:.1%} of the runtime)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
