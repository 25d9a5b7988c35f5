"""Puts the demo on: builds the stage, plays the story, writes the summary, cleans up."""

import concurrent.futures
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeops import codec
from edgeops.clock import SystemClock
from edgeops.console import say
from edgeops.demo import scenario, story
from edgeops.demo.plant import Plant
from edgeops.demo.reckoning import reckon
from edgeops.demo.story import Stage
from edgeops.demo.timeline import Counts, ModelFigures, Summary, Timeline
from edgeops.demo.view import opened, print_summary
from edgeops.demo.workshop import Workshop
from edgeops.durable import write_atomic
from edgeops.errors import EdgeOpsError, UsageError


def perform(
    *,
    devices: int,
    seconds: int,
    dashboard: bool,
    broker: str,
    keep: Path | None,
    json: Path | None,
) -> Summary:
    """Play the whole story; return its summary, also where a step did not happen.

    Args:
        devices: Emulated devices, at least five.
        seconds: How long the plant runs on before the end.
        dashboard: Redraw a live view where the terminal allows it.
        broker: ``auto``, ``mosquitto`` or ``builtin``.
        keep: New folder to work in and leave behind; ``None``: a temporary one.
        json: Where to write the summary.

    Raises:
        UsageError: ``keep`` exists already.
    """
    timeline = Timeline(SystemClock())
    models: list[ModelFigures] = []
    counts = Counts(devices=devices)
    ok = False
    with _folder(keep) as folder:
        workshop = Workshop(folder / "workshop")
        plant = Plant(
            folder / "plant",
            release_key=workshop.public_key,
            config_home=workshop.config_home,
        )
        with (
            opened(dashboard=dashboard) as view,
            concurrent.futures.ThreadPoolExecutor(2, "demo") as pool,
            plant.running(),
        ):
            stage = Stage(timeline=timeline, view=view, workshop=workshop, plant=plant, pool=pool)
            step = "convert"
            try:
                models += scenario.convert(stage, broker=broker)
                step = "serve"
                scenario.serve(stage)
                step = "enrol"
                scenario.enrol(stage, devices)
                for step, play in scenario.STEPS:  # noqa: B007  # named in the failure below
                    play(stage)
                if seconds:
                    _run_on(stage, seconds)
                step = "count"
                counts = reckon(stage)
                stage.done("count", _counted(counts))
                ok = True
            except EdgeOpsError as error:
                timeline.record(step, str(error), ok=False)
                view.step(timeline.steps[-1])
        if not ok:
            say(story.log_tail(folder))
    summary = Summary(
        ok=ok,
        seconds=round(timeline.seconds, 1),
        steps=tuple(timeline.steps),
        counts=counts,
        models=tuple(models),
    )
    if json is not None:
        write_atomic(json, codec.canonical(summary) + b"\n")
    print_summary(summary)
    if not ok:
        say(f"edgeops: the step {timeline.steps[-1].name!r} did not happen")
    return summary


def _run_on(stage: Stage, seconds: int) -> None:
    began = stage.timeline.clock.monotonic()
    stage.wait(
        f"running on for {seconds} s",
        lambda: stage.timeline.clock.monotonic() - began >= seconds,
        limit_s=seconds + 5,
    )


def _counted(counts: Counts) -> str:
    return (
        f"{counts.alerts_raised} alert events raised, {counts.alerts_received} received;"
        f" {counts.windows_sent} windows sent, {counts.windows_stored} stored;"
        f" lost {counts.lost}, twice {counts.duplicates}"
    )


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        try:
            keep.mkdir(parents=True)
        except FileExistsError:
            raise UsageError(f"{keep} exists already; --keep wants a new folder") from None
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="edgeops-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)
