"""How a pipeline has done since its model was last swapped; what probation judges."""

import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

from agent.label_counts import LabelCounter, answers
from agent.latency import LatencyHistogram
from agent.messages import Item
from agent.update.ports import SlotHealth

RECENT: Final = 1000
"""Answers that stand for how a model speaks of the scene of now, not of last month."""


class HealthMeter:
    """Counts the inferences of one pipeline since ``now_s`` (monotonic seconds).

    A constant answer is not counted as bad: a quiet scene or a saturated score looks the same.
    """

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        self.frames = 0
        self.errors = 0
        self.bad_outputs = 0
        self.restarts = 0
        self.latency = LatencyHistogram()
        self.labels = LabelCounter()
        self._recent: deque[tuple[str, ...]] = deque(maxlen=RECENT)

    def add(self, item: Item) -> None:
        """Count one inference."""
        if item.fault == "bad-output":
            self.bad_outputs += 1
        elif item.result is None:
            self.errors += 1
            return
        self.frames += 1
        self.latency.add(item.ms)
        if item.result is not None:
            said = answers(item.result)
            self.labels.add(said)
            self._recent.append(tuple(map(sys.intern, said)))

    def recent_labels(self) -> dict[str, int]:
        """Return how often each label was said in the last ``RECENT`` answers."""
        counter = LabelCounter()
        for said in tuple(self._recent):
            counter.add(said)
        return counter.counts


def combined(meters: Sequence[HealthMeter], now_s: float) -> SlotHealth:
    """Return the health of a slot from its pipelines: sums, and the worst latency."""
    return SlotHealth(
        elapsed_s=min((now_s - meter.since_s for meter in meters), default=0.0),
        frames=sum(meter.frames for meter in meters),
        errors=sum(meter.errors for meter in meters),
        bad_outputs=sum(meter.bad_outputs for meter in meters),
        restarts=sum(meter.restarts for meter in meters),
        p95_ms=max((meter.latency.percentile(0.95) for meter in meters), default=0.0),
        label_counts=_sum([meter.labels.counts for meter in meters]),
        recent_counts=_sum([meter.recent_labels() for meter in meters]),
    )


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for label, count in tuple(one.items()):
            total[label] = total.get(label, 0) + count
    return total
