"""How a pipeline has done since its model was last swapped; what probation judges."""

from collections.abc import Sequence

from agent.label_counts import LabelCounter, answers
from agent.latency import LatencyHistogram
from agent.messages import Item
from agent.update.ports import SlotHealth


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
            self.labels.add(answers(item.result))


def combined(meters: Sequence[HealthMeter], now_s: float) -> SlotHealth:
    """Return the health of a slot from its pipelines: sums, and the worst latency."""
    labels: dict[str, int] = {}
    for meter in meters:
        for label, count in meter.labels.counts.items():
            labels[label] = labels.get(label, 0) + count
    return SlotHealth(
        elapsed_s=min((now_s - meter.since_s for meter in meters), default=0.0),
        frames=sum(meter.frames for meter in meters),
        errors=sum(meter.errors for meter in meters),
        bad_outputs=sum(meter.bad_outputs for meter in meters),
        restarts=sum(meter.restarts for meter in meters),
        p95_ms=max((meter.latency.percentile(0.95) for meter in meters), default=0.0),
        label_counts=labels,
    )
