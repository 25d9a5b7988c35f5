"""A progress bar with the time left, on a terminal; elsewhere nothing is drawn."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from edgeops.console import say


class _Count(MofNCompleteColumn):
    """How many of how many; nothing where nobody knows."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class ProgressBar:
    """Shows the present stage on one line of standard error."""

    def __init__(self, console: Console) -> None:
        self.drawn = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            _Count(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage; see ``converters.progress.Progress``."""
        if self._task is not None:
            self.drawn.remove_task(self._task)
        self._task = self.drawn.add_task(name, total=total)

    def advance(self, count: int = 1) -> None:
        """Say that parts of the stage are done."""
        if self._task is not None:
            self.drawn.advance(self._task, count)

    def say(self, text: str) -> None:
        """Print words for people above the bar."""
        if self.drawn.console.is_terminal:
            self.drawn.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            say(text)


@contextmanager
def shown() -> Iterator[ProgressBar]:
    """Yield a bar that is drawn while the block runs, if standard error is a terminal."""
    bar = ProgressBar(Console(file=sys.stderr))
    bar.drawn.disable = not bar.drawn.console.is_terminal
    with bar.drawn:
        yield bar
