"""Runs the pipelines of every slot; the updater's way to them."""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.health import combined
from agent.pipeline import Pipeline, run_in_thread
from agent.pipeline_port import PipelineStatus
from agent.update.ports import SlotHealth
from edgeops.clock import Clock
from edgeops.errors import InferenceError

logger = logging.getLogger(__name__)


class Host:
    """All pipelines of this agent, by slot; implements ``agent.update.ports.PipelineHost``.

    Args:
        guarded: Runs the body of a thread and survives our own bugs, see ``agent.supervision``.
    """

    def __init__(
        self,
        pipelines: Iterable[Pipeline],
        clock: Clock,
        guarded: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._pipelines = tuple(pipelines)
        self._clock = clock
        self._guarded = guarded
        self._threads: list[threading.Thread] = []
        self._active: dict[str, tuple[Path | None, str]] = {}
        self._one_swap = threading.Lock()

    def start(self) -> None:
        """Start every pipeline; those without a bundle wait."""
        self._threads = [run_in_thread(pipeline, self._guarded) for pipeline in self._pipelines]

    def interrupt(self) -> None:
        """Ask every pipeline to end, without waiting; safe in a signal handler."""
        for pipeline in self._pipelines:
            pipeline.stop()

    def stop(self, timeout_s: float) -> None:
        """End every pipeline at once, within ``timeout_s`` seconds."""
        self.interrupt()
        until = self._clock.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - self._clock.monotonic()))
            if thread.is_alive():
                logger.error("thread %s did not end in time", thread.name)

    def activate(self, slot: str, bundle: Path | None, variant: str) -> None:
        """Swap the bundle of all pipelines of ``slot`` between two frames.

        Raises:
            InferenceError: One pipeline cannot run it; all go on with what they had.
            StoppingError: The agent is ending.
        """
        with self._one_swap:
            before = self._active.get(slot, (None, ""))
            done: list[Pipeline] = []
            try:
                for pipeline in self._of(slot):
                    pipeline.load(None if bundle is None else str(bundle), variant)
                    done.append(pipeline)
            except InferenceError:
                self._undo(done, *before)
                raise
            self._active[slot] = (bundle, variant)

    def health(self, slot: str) -> SlotHealth:
        """Return how the slot has done since the last swap."""
        meters = [pipeline.health() for pipeline in self._of(slot)]
        return combined(meters, self._clock.monotonic())

    def status(self) -> tuple[PipelineStatus, ...]:
        """Return every pipeline as it stands."""
        return tuple(pipeline.status() for pipeline in self._pipelines)

    def is_finished(self) -> bool:
        """Return whether every source has come to its end."""
        return all(pipeline.finished.is_set() for pipeline in self._pipelines)

    def _of(self, slot: str) -> list[Pipeline]:
        return [pipeline for pipeline in self._pipelines if pipeline.options.slot == slot]

    def _undo(self, pipelines: list[Pipeline], bundle: Path | None, variant: str) -> None:
        for pipeline in pipelines:
            try:
                pipeline.load(None if bundle is None else str(bundle), variant)
            except InferenceError as error:
                logger.error(  # noqa: TRY400  # a sentence, not our bug
                    "pipeline %s: cannot go back: %s", pipeline.name, error
                )
