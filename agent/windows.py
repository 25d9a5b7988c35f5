"""Telemetry windows: what a pipeline did in one stretch of time, as a few figures."""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from typing import Final

from agent.label_counts import LabelCounter, answers
from agent.latency import LatencyHistogram
from agent.messages import Item
from edgeops.contracts.telemetry import Sketch, Window

UNIT_EDGES: Final = tuple(round(i / 20, 2) for i in range(21))
"""Scores from 0 to 1 in twenty steps; used where the bundle brings no edges of its own."""

MIN_EDGES: Final = 2
MAX_EDGES: Final = 129


class ScoreSketch:
    """Histogram of scores over fixed edges; what lies outside counts in the outermost bins."""

    def __init__(self, edges: Sequence[float]) -> None:
        usable = MIN_EDGES <= len(edges) <= MAX_EDGES and all(
            a < b for a, b in itertools.pairwise(edges)
        )
        self._edges = tuple(edges) if usable else UNIT_EDGES
        self._counts = [0] * (len(self._edges) - 1)

    def add(self, score: float) -> None:
        """Count one score."""
        at = bisect.bisect_right(self._edges, score) - 1
        self._counts[min(max(at, 0), len(self._counts) - 1)] += 1

    def sketch(self) -> Sketch:
        """Return the histogram as it travels."""
        return Sketch(edges=self._edges, counts=tuple(self._counts))


class WindowMeter:
    """Collects the results of one pipeline and closes a window every ``span_s`` seconds.

    Time is whatever the caller counts in: evidence time of a recording that is read as fast as
    possible, monotonic time of everything else. A window never mixes two models.

    Args:
        span_s: Length of a window in seconds, more than 0.
    """

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._model = ""
        self._edges: tuple[float, ...] = UNIT_EDGES
        self._drops_before: dict[str, int] = {}
        self._drops: dict[str, int] = {}
        self._start_s: float | None = None
        self._clear()

    def begin(self, now_s: float) -> None:
        """Start counting time, where that was not done yet."""
        if self._start_s is None:
            self._start_s = now_s

    def use_model(self, model: str, score_edges: Sequence[float]) -> None:
        """Say which bundle answers from now on; the caller closes the open window before."""
        self._model = model
        self._edges = tuple(score_edges) or UNIT_EDGES
        self._scores = ScoreSketch(self._edges)

    def add(self, item: Item) -> None:
        """Count one inference."""
        if item.fault == "bad-output":
            self._bad_outputs += 1
        if item.result is None:
            self._errors += item.fault != "bad-output"
            return
        self._frames += 1
        self._latency.add(item.ms)
        self._scores.add(item.result.score)
        self._labels.add(answers(item.result))

    def drops(self, counts: Mapping[str, int]) -> None:
        """Take the counts of unused samples; they only grow, and begin anew with a new pipe."""
        for cause, count in counts.items():
            before = self._drops_before.get(cause, 0)
            grown = count - before if count >= before else count
            self._drops[cause] = self._drops.get(cause, 0) + grown
        self._drops_before = dict(counts)

    def restarted(self) -> None:
        """Say that the pipe was started anew."""
        self._restarts += 1
        self._drops_before = {}

    def is_due(self, now_s: float) -> bool:
        """Return whether the window has reached its length."""
        return self._start_s is not None and now_s - self._start_s >= self._span_s - 1e-9

    def close(self, now_s: float, *, wall_s: float, machine: Mapping[str, float]) -> Window | None:
        """End the window at ``now_s`` and begin the next; ``None`` where no time has passed.

        Args:
            now_s: The end, in the caller's time.
            wall_s: The same moment in wall seconds since 1970.
            machine: Figures of process and machine to put beside the counts.
        """
        if self._start_s is None or now_s <= self._start_s:
            return None
        span_s = now_s - self._start_s
        values: dict[str, float] = {
            "frames": float(self._frames),
            "fps": self._frames / span_s,
            "errors": float(self._errors),
            "bad_outputs": float(self._bad_outputs),
            "restarts": float(self._restarts),
            **{f"drops_{cause}": float(count) for cause, count in self._drops.items()},
            **machine,
        }
        sketches: dict[str, Sketch] = {}
        if self._frames:
            values["lat_p50_ms"] = self._latency.percentile(0.50)
            values["lat_p95_ms"] = self._latency.percentile(0.95)
            values["lat_max_ms"] = self._latency.max_ms
            sketches = {"score": self._scores.sketch(), "lat_ms": self._latency.sketch()}
        window = Window(
            t=wall_s,
            span_s=span_s,
            model=self._model,
            values=values,
            sketches=sketches,
            labels=dict(self._labels.counts),
        )
        self._start_s = now_s
        self._clear()
        return window

    def _clear(self) -> None:
        self._frames = 0
        self._errors = 0
        self._bad_outputs = 0
        self._restarts = 0
        self._drops = {}
        self._latency = LatencyHistogram()
        self._labels = LabelCounter()
        self._scores = ScoreSketch(self._edges)
