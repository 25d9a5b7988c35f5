"""One supervised pipeline: keeps its process running and turns its messages into events."""

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.health import HealthMeter
from agent.heartbeat import StuckJudge
from agent.machine_figures import figures
from agent.messages import (
    Drops,
    FromPipe,
    Item,
    Load,
    Loaded,
    LoadFailed,
    Results,
    Setup,
    SourceNews,
    Stop,
)
from agent.packets import PeerGoneError
from agent.pipe_process import PipeProcess
from agent.pipeline_port import (
    LoadedModel,
    PipelineEvents,
    PipelineOptions,
    PipelineStatus,
    State,
)
from agent.rules.evaluate import Answer
from agent.sources.options import CameraOptions, is_live, to_plain
from agent.update.ports import StoppingError
from agent.windows import WindowMeter
from edgeops.backoff import Backoff
from edgeops.clock import Clock
from edgeops.errors import ContractError, InferenceError

logger = logging.getLogger(__name__)

TICK_S: Final = 0.25
LOAD_TIMEOUT_S: Final = 90.0
DRAIN_S: Final = 1.5
END_S: Final = 1.0
LEAST_WINDOW_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class _Wanted:
    number: int
    folder: str | None
    variant: str


class Pipeline:
    """Supervises one pipe; ``run`` is the body of its thread."""

    def __init__(self, options: PipelineOptions, events: PipelineEvents, clock: Clock) -> None:
        self.options = options
        self.finished = threading.Event()
        self._events = events
        self._clock = clock
        self._live = is_live(options.source)
        self._recording = not isinstance(options.source, CameraOptions)
        self._stopping = threading.Event()
        self._backoff = Backoff(base_s=0.5, cap_s=30.0)
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._wanted = _Wanted(0, None, "")
        self._before: _Wanted | None = None
        self._measured = 0
        self._answers: dict[int, Loaded | LoadFailed] = {}
        self._process: PipeProcess | None = None
        self._model: LoadedModel | None = None
        self._state: State = "starting"
        self._detail = ""
        self._frames = self._errors = self._bad_outputs = self._restarts = self._windows = 0
        self._drops: dict[str, int] = {}
        self._drops_of_earlier: dict[str, int] = {}
        self._health = HealthMeter(clock.monotonic())
        self._window = WindowMeter(options.window_s)
        self._heard_at = clock.monotonic()
        self._last: tuple[float, float] | None = None
        self._faulty = False
        self._source_stuck = False

    @property
    def name(self) -> str:
        """Return the pipeline's name."""
        return self.options.name

    def run(self) -> None:
        """Keep the process running until ``stop``; returns then."""
        while not self._stopping.is_set() and not self.finished.is_set():
            began = self._clock.monotonic()
            ending = self._session()
            if self._stopping.is_set() or self.finished.is_set():
                break
            self._backoff.lived(self._clock.monotonic() - began)
            wait_s = self._backoff.next_s()
            self._note("back-off", ending)
            logger.warning("pipeline %s: %s; next start in %.1f s", self.name, ending, wait_s)
            self._count_restart()
            self._stopping.wait(wait_s)
        self._close_window()
        if not self.finished.is_set():
            self._note("stopped", "")

    def stop(self) -> None:
        """Ask the thread to end; it needs at most ``DRAIN_S + END_S`` and a little."""
        self._stopping.set()

    def load(self, folder: str | None, variant: str) -> None:
        """Swap the model between two frames and wait for the answer; from any thread.

        Raises:
            InferenceError: It cannot run here; what ran before goes on.
            StoppingError: The agent is ending; the bundle is not to blame.
        """
        with self._changed:
            order = _Wanted(next(self._numbers), folder, variant)
            self._before, self._wanted = self._wanted, order
            self._send_load(order)
            answered = self._changed.wait_for(
                lambda: order.number in self._answers or self._is_over(), LOAD_TIMEOUT_S
            )
            answer = self._answers.pop(order.number, None)
            if isinstance(answer, Loaded):
                return
            self._go_back()
            if answer is None and self._process is not None:
                self._process.kill()  # whatever it does with the late order, it starts anew
        if self._stopping.is_set():
            # Also where the process died of it: the end of the agent is no verdict on a bundle.
            raise StoppingError(f"the pipeline {self.name} is stopping")
        if isinstance(answer, LoadFailed):
            raise InferenceError(answer.reason)
        reason = (
            "has come to its end" if answered else f"did not answer within {LOAD_TIMEOUT_S:g} s"
        )
        raise InferenceError(f"the pipeline {self.name} {reason}")

    def health(self) -> HealthMeter:
        """Return the figures since the last swap."""
        with self._changed:
            return self._health

    def status(self) -> PipelineStatus:
        """Return the pipeline as it stands."""
        with self._changed:
            return PipelineStatus(
                name=self.name,
                slot=self.options.slot,
                state=self._state,
                detail=self._detail,
                model=self._model,
                frames=self._frames,
                errors=self._errors,
                bad_outputs=self._bad_outputs,
                restarts=self._restarts,
                windows=self._windows,
                drops=dict(self._drops),
                lat_p50_ms=self._health.latency.percentile(0.5),
                lat_p95_ms=self._health.latency.percentile(0.95),
                pid=None if self._process is None else self._process.pid,
            )

    def _is_over(self) -> bool:
        return self._stopping.is_set() or (self.finished.is_set() and self._process is None)

    def _session(self) -> str:
        """Start the process and serve it until it is gone; return how it ended."""
        process = PipeProcess(self.name)
        stuck = ""
        try:
            self._begin(process)
            stuck = self._serve(process)
        except PeerGoneError:
            pass
        except ContractError as error:
            stuck = f"sent what cannot be read: {error}"
            process.kill()
        finally:
            with self._changed:
                self._process = None
            ending = process.end(END_S)
            self._source_stuck = process.source_was_stuck
            self._fail_open_load(stuck or ending)
        return stuck or f"its process ended ({ending})"

    def _begin(self, process: PipeProcess) -> None:
        options = self.options
        process.send(
            Setup(
                pipeline=self.name,
                source=dict(to_plain(options.source)),
                interval_s=options.interval_s,
                threads=options.threads,
            )
        )
        with self._changed:
            self._process = process
            self._model = None
            self._drops_of_earlier = dict(self._drops)
            self._send_load(self._wanted)
        self._window.restarted()

    def _serve(self, process: PipeProcess) -> str:
        """Read messages until the end of the process, of the source or of the agent."""
        judge = StuckJudge(self._clock.monotonic())
        while not self._stopping.is_set():
            message = process.receive(TICK_S)
            if message is not None:
                self._take(message)
            self._tick()
            now = self._clock.monotonic()
            beat = process.beat()
            p99_s = self.health().latency.percentile(0.99) / 1000.0
            if judge.is_stuck(beat, now, p99_s, heard=message is not None):
                process.kill()
                return f"it hung in {beat.stage.name.lower()} and was killed"
        process.send(Stop())
        self._drain(process)
        return ""

    def _drain(self, process: PipeProcess) -> None:
        """Read what the pipe still sends after ``Stop``, for a bounded time."""
        until = self._clock.monotonic() + DRAIN_S
        while (left := until - self._clock.monotonic()) > 0.0:
            message = process.receive(left)
            if message is not None:
                self._take(message)

    def _take(self, message: FromPipe) -> None:
        match message:
            case Results(items=items):
                for item in items:
                    self._take_item(item)
            case Loaded() | LoadFailed():
                self._take_answer(message)
            case SourceNews(state=state, detail=detail):
                self._take_news(state, detail)
            case Drops(counts=counts):
                self._window.drops(counts)
                with self._changed:
                    self._drops = dict(self._drops_of_earlier)
                    for cause, count in counts.items():
                        self._drops[cause] = self._drops.get(cause, 0) + count

    def _take_item(self, item: Item) -> None:
        model = self._model
        if not self._live:
            self._window.begin(item.t)
            if self._window.is_due(item.t):
                self._close_window(item.t)
        self._window.add(item)
        if item.result is None and not self._faulty:  # the first of a row; the others are counted
            logger.warning("pipeline %s: no answer: %s", self.name, item.detail or item.fault)
        self._faulty = item.result is None
        with self._changed:
            self._health.add(item)
            self._last = (item.t, item.t - self._last[0] if self._last else 0.0)
            if item.result is not None:
                self._frames += 1
            elif item.fault == "bad-output":
                self._bad_outputs += 1
            else:
                self._errors += 1
            if item.detail:
                self._detail = item.detail
        if item.result is not None and model is not None:
            self._heard_at = self._clock.monotonic()
            answer = Answer(item.result, model.labels)
            self._events.answered(self.name, item.t, answer, model.digest)

    def _take_answer(self, answer: Loaded | LoadFailed) -> None:
        if isinstance(answer, Loaded):
            self._close_window()
            self._window.use_model(answer.digest, answer.score_edges)
        with self._changed:
            if isinstance(answer, Loaded):
                self._model = _model_of(answer)
                if (
                    answer.number != self._measured
                ):  # a restart with the same order goes on counting
                    self._health = HealthMeter(self._clock.monotonic())
                    self._measured = answer.number
                self._state = "waiting" if self._model is None else "running"
                self._detail = ""
            elif self._model is None:
                self._state, self._detail = "waiting", answer.reason
            self._answers = {answer.number: answer}
            if isinstance(answer, Loaded):
                self._before = None
            self._changed.notify_all()
            model = self._model
        if isinstance(answer, LoadFailed):
            logger.warning("pipeline %s: cannot load: %s", self.name, answer.reason)
        elif model is not None:
            logger.info("pipeline %s: %s (%s) answers", self.name, model.title, model.variant)
            self._heard_at = self._clock.monotonic()
            self._events.loaded(self.name, model)
            if self._live:
                self._window.begin(self._clock.monotonic())

    def _take_news(self, state: str, detail: str) -> None:
        if state == "lost":
            logger.warning("pipeline %s: source lost: %s", self.name, detail)
            self._note("lost", detail)
        elif state == "ended":
            self._close_window()
            if self._recording:
                self._events.recording_ended(self.name)
            logger.info("pipeline %s: the source ended", self.name)
            self._note("ended", "")
            self.finished.set()
        else:
            self._note("running", "")

    def _tick(self) -> None:
        if not self._live or self.finished.is_set():
            return
        now = self._clock.monotonic()
        if self._window.is_due(now):
            self._close_window(now)
        self._events.silent(self.name, now - self._heard_at)

    def _close_window(self, at_s: float | None = None) -> None:
        now = self._clock.monotonic()
        if at_s is None:
            at_s = now
            if not self._live:
                if self._last is None:
                    return
                t, distance = self._last
                at_s = t + max(distance, LEAST_WINDOW_S)
        with self._changed:
            pid = None if self._process is None else self._process.pid
        window = self._window.close(at_s, wall_s=self._clock.wall(), machine=figures(pid))
        if window is not None:
            with self._changed:
                self._windows += 1
            self._events.window_closed(self.name, window)

    def _send_load(self, order: _Wanted) -> None:
        """Send an order where a process runs; the caller holds the lock."""
        if self._process is None:
            return
        message = Load(
            number=order.number,
            folder=order.folder,
            variant=order.variant,
            runtime=self.options.runtime,
            precision=self.options.precision,
        )
        try:
            self._process.send(message)
        except PeerGoneError:
            logger.info("pipeline %s: gone before it could load", self.name)

    def _fail_open_load(self, reason: str) -> None:
        """Answer a load that the process did not survive."""
        with self._changed:
            number = self._wanted.number
            if number not in self._answers and not self._stopping.is_set():
                failed = LoadFailed(number=number, reason=f"the process did not survive: {reason}")
                self._answers[number] = failed
                self._go_back()
            self._changed.notify_all()

    def _go_back(self) -> None:
        """Let the next start load what ran before an order that failed; under the lock."""
        if self._before is not None:
            self._wanted, self._before = self._before, None

    def _count_restart(self) -> None:
        with self._changed:
            self._restarts += 1
            if not self._source_stuck:  # a camera's fault is no figure of the model
                self._health.restarts += 1

    def _note(self, state: State, detail: str) -> None:
        with self._changed:
            self._state = state
            self._detail = detail


def run_in_thread(
    pipeline: Pipeline, guarded: Callable[[str, Callable[[], None]], None]
) -> threading.Thread:
    """Start a pipeline's thread under ``guarded``, which survives our own bugs."""
    thread = threading.Thread(
        target=guarded,
        args=(f"pipeline {pipeline.name}", pipeline.run),
        name=f"pipeline-{pipeline.name}",
        daemon=True,
    )
    thread.start()
    return thread


def _model_of(answer: Loaded) -> LoadedModel | None:
    if answer.task is None:
        return None
    return LoadedModel(
        digest=answer.digest,
        title=answer.title,
        variant=answer.variant,
        task=answer.task,
        labels=answer.labels,
    )
