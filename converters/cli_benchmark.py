"""``edgeops benchmark``: latency and memory of a model on this machine."""

import json as jsonlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeops.console import new_app
from edgeops.errors import UsageError

app = new_app("Time a model on this machine.", single=True)


@app.command()
def benchmark(
    source: Annotated[Path, typer.Argument(help="A bundle, or an .onnx or .tflite file.")],
    *,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads per inference.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.01, max=600, help="How long to measure.")] = 3.0,
    runtime: Annotated[
        Literal["auto", "onnx", "tflite"], typer.Option(help="Variant's runtime.")
    ] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "float16", "int8", "dynamic-int8", "int16x8"],
        typer.Option(help="Variant's precision."),
    ] = "auto",
    every: Annotated[
        bool,
        typer.Option("--all", help="Every variant of the bundle, in turns; marks the fastest."),
    ] = False,
    pipeline: Annotated[
        bool, typer.Option(help="Also time the agent's pipeline beside a plain loop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Time the runtime alone, on invented input; with --pipeline also the agent around it."""
    from converters.benchmark import benchmark as measure  # noqa: PLC0415 - heavy
    from converters.sources import opened_source  # noqa: PLC0415
    from edgeops.clock import SystemClock  # noqa: PLC0415

    if every:
        if pipeline or runtime != "auto" or precision != "auto":
            raise UsageError("--all times every variant: it goes with none of the others")
        _all(source, threads=threads, seconds=seconds, json=json)
        return
    with opened_source(source, runtime=runtime, precision=precision) as (file, _):
        result = measure(file, threads=threads, seconds=seconds, clock=SystemClock())
    cost: dict[str, float] = {}
    if pipeline:
        from converters.pipeline_cost import measure_pipeline  # noqa: PLC0415

        cost = measure_pipeline(
            source, runtime=runtime, precision=precision, threads=threads, seconds=seconds
        )
    if json:
        print(jsonlib.dumps({**cost, **result.record()}, sort_keys=True))
        return
    latency = result.latency
    print(
        f"{result.file.record()['file']}: p50 {latency.p50:.3f} ms, p95 {latency.p95:.3f} ms "
        f"({latency.runs} runs, {threads} threads), "
        f"peak memory {result.peak_rss_bytes / 1e6:.0f} MB"
    )
    if cost:
        print(
            f"inferences per second: bare {cost['bare_fps']:.0f}, "
            f"plain loop {cost['loop_fps']:.0f}, "
            f"agent's pipeline {cost['pipeline_fps']:.0f} "
            f"({cost['ratio']:.2f} of bare, {cost['loop_ratio']:.2f} of the loop)"
        )


def _all(source: Path, *, threads: int, seconds: float, json: bool) -> None:
    """Time every variant of a bundle and print one line each."""
    from converters.benchmark import benchmark_all  # noqa: PLC0415 - heavy
    from converters.sources import opened_source  # noqa: PLC0415
    from edgeops.clock import SystemClock  # noqa: PLC0415

    with opened_source(source) as (_, bundle):
        if bundle is None:
            raise UsageError(f"{source} is no bundle: --all compares a bundle's variants")
        results = benchmark_all(bundle, threads=threads, seconds=seconds, clock=SystemClock())
    fastest = min(results, key=lambda result: result.latency.p50)
    if json:
        records = [result.record() for result in results]
        chosen = fastest.file.record()["file"]
        print(jsonlib.dumps({"variants": records, "fastest": chosen}, sort_keys=True))
        return
    for result in results:
        mark = "*" if result is fastest else " "
        print(
            f"{mark} {result.file.record()['file']}: p50 {result.latency.p50:.3f} ms, "
            f"p95 {result.latency.p95:.3f} ms ({result.latency.runs} runs, {threads} threads)"
        )


if __name__ == "__main__":
    app()
