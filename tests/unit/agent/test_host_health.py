"""What probation is told of a slot's pipelines."""

import itertools

from agent.health import RECENT, HealthMeter, combined
from agent.messages import Item
from edgeops.contracts.result import Result


def _item(label: str) -> Item:
    return Item(0.0, 1.0, Result(task="classification", label=label, score=0.9))


def test_recent_labels_forget_what_is_long_past() -> None:
    meters = [HealthMeter(0.0), HealthMeter(0.0)]
    for meter, label in itertools.product(meters, ["night"] * 3000 + ["day"] * RECENT):
        meter.add(_item(label))
    health = combined(meters, 1.0)
    assert health.label_counts == {"night": 6000, "day": 2 * RECENT}
    assert health.recent_counts == {"day": 2 * RECENT}
