"""What the demo shows while it runs: devices, counts and the story so far."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgeops.demo.timeline import StepRecord, Summary, Timeline

SHOWN_STEPS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLine:
    """One device as its own local API says it is."""

    id: str
    online: str
    model: str
    state: str
    frames: int
    alerts: int
    waiting: int


class View(Protocol):
    """Shows progress."""

    def show(self, timeline: Timeline, devices: list[DeviceLine]) -> None:
        """Show the present state; called a few times a second."""

    def step(self, record: StepRecord) -> None:
        """Show that a step ended."""


class LiveView:
    """A terminal that is redrawn."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, timeline: Timeline, devices: list[DeviceLine]) -> None:
        """Redraw."""
        table = Table(expand=True, box=None, header_style="bold")
        for name in ("device", "link", "model", "update"):
            table.add_column(name)
        for name in ("frames", "alerts", "waiting"):
            table.add_column(name, justify="right")
        for line in devices:
            colour = "green" if line.online == "online" else "yellow"
            table.add_row(
                line.id,
                Text(line.online, colour),
                line.model,
                line.state,
                str(line.frames),
                str(line.alerts),
                str(line.waiting),
            )
        story = Text()
        for record in timeline.steps[-SHOWN_STEPS:]:
            story.append_text(_line(record)).append("\n")
        story.append(f"{timeline.seconds:6.1f} s  … {timeline.doing}", style="cyan")
        self._live.update(
            Group(Panel(table, title="EdgeOps demo: devices"), Panel(story, title="timeline"))
        )

    def step(self, record: StepRecord) -> None:
        """Nothing: the next redraw shows it."""


class PlainView:
    """A log for terminals that cannot be redrawn, and for files."""

    def show(self, timeline: Timeline, devices: list[DeviceLine]) -> None:
        """Nothing: steps say it all."""

    def step(self, record: StepRecord) -> None:
        """Print one line."""
        sys.stderr.write(_line(record).plain + "\n")
        sys.stderr.flush()


@contextmanager
def opened(*, dashboard: bool) -> Iterator[View]:
    """Yield the view that fits: live on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if dashboard and console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield LiveView(live)
    else:
        yield PlainView()


def print_summary(summary: Summary) -> None:
    """Print the whole story with its figures on standard output."""
    console = Console(highlight=False)
    parts: list[Text | Table] = [Text("\nWhat happened", "bold")]
    parts += [_line(record) for record in summary.steps]
    if summary.models:
        parts += [Text("Float and int8 side by side", "bold"), _side_by_side(summary), Text()]
    counts = summary.counts
    parts.append(Text("Counted in this run", "bold"))
    parts.append(
        Text(
            f"  {counts.devices} devices inferred {counts.frames} frames;"
            f" {counts.updates} updates committed, {counts.rollbacks} taken back by the device\n"
            f"  alert events: {counts.alerts_raised} raised, {counts.alerts_received} received\n"
            f"  telemetry windows: {counts.windows_sent} sent, {counts.windows_stored} stored\n"
            f"  lost: {counts.lost}, stored twice: {counts.duplicates}\n"
        )
    )
    for part in parts:
        console.print(part, soft_wrap=not isinstance(part, Table))
    verdict = Text("all steps happened", "green") if summary.ok else Text(_failed(summary), "red")
    console.print(verdict + Text(f" in {summary.seconds:.0f} s"), soft_wrap=True)


def _failed(summary: Summary) -> str:
    missing = [record.name for record in summary.steps if not record.ok]
    return f"did not happen: {', '.join(missing)};"


def _side_by_side(summary: Summary) -> Table:
    table = Table(box=None, header_style="dim")
    for name in ("model", "metric", "float32", "int8", "kB", "int8", "ms", "int8"):
        table.add_column(
            name, justify="left" if name in {"model", "metric"} else "right", no_wrap=True
        )
    for model in summary.models:
        table.add_row(
            model.name,
            model.metric,
            f"{model.float:.3f}",
            f"{model.int8:.3f}",
            f"{model.float_bytes / 1000:.0f}",
            f"{model.int8_bytes / 1000:.0f}",
            f"{model.float_ms:.3f}",
            f"{model.int8_ms:.3f}",
        )
    return table


def _line(record: StepRecord) -> Text:
    text = Text(f"{record.at_s:6.1f} s  ")
    text.append("✓ " if record.ok else "✗ ", style="green" if record.ok else "bold red")
    text.append(record.name, style="bold")
    text.append(f": {record.detail}")
    return text
