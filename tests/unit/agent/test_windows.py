"""Telemetry windows: what is counted, when a window ends, that nothing mixes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.health import HealthMeter, combined
from agent.label_counts import MAX_LABELS, NOTHING, OTHERS, LabelCounter
from agent.latency import LatencyHistogram
from agent.messages import Item
from agent.windows import UNIT_EDGES, WindowMeter
from edgeops.contracts.result import Detection, Result
from edgeops.contracts.telemetry import columns_of


def _item(label: str = "good", score: float = 0.5, ms: float = 2.0, t: float = 0.0) -> Item:
    return Item(t, ms, Result(task="classification", label=label, score=score))


def test_a_window_holds_what_happened_in_it() -> None:
    meter = WindowMeter(10.0)
    meter.use_model("sha256:1", ())
    meter.begin(100.0)
    for ms in (1.0, 2.0, 3.0, 40.0):
        meter.add(_item(ms=ms, score=0.97))
    meter.add(_item(label="bad", score=0.0))
    meter.add(Item(0.0, 1.0, None, "bad-output"))
    meter.add(Item(0.0, 1.0, None, "error"))
    meter.drops({"late": 3})
    meter.drops({"late": 5, "gap": 1})

    assert not meter.is_due(109.9)
    assert meter.is_due(110.0)
    window = meter.close(110.0, wall_s=5.0, machine={"rss_bytes": 7.0})

    assert window is not None
    assert (window.t, window.span_s, window.model) == (5.0, 10.0, "sha256:1")
    values = window.values
    assert (values["frames"], values["fps"]) == (5.0, 0.5)
    assert (values["errors"], values["bad_outputs"]) == (1.0, 1.0)
    assert (values["drops_late"], values["drops_gap"]) == (5.0, 1.0)
    assert values["lat_max_ms"] == 40.0
    assert values["lat_p50_ms"] == pytest.approx(2.0, rel=0.05)
    assert values["rss_bytes"] == 7.0
    assert window.labels == {"good": 4, "bad": 1}
    score = window.sketches["score"]
    assert score.edges == UNIT_EDGES
    assert (score.counts[0], score.counts[-1], sum(score.counts)) == (1, 4, 5)


def test_the_next_window_starts_empty_where_the_last_ended() -> None:
    meter = WindowMeter(10.0)
    meter.begin(0.0)
    meter.add(_item())
    meter.drops({"late": 3})
    meter.close(10.0, wall_s=1.0, machine={})
    meter.drops({"late": 4})

    window = meter.close(15.0, wall_s=2.0, machine={})

    assert window is not None
    assert window.span_s == 5.0
    assert (window.values["frames"], window.values["drops_late"]) == (0.0, 1.0)
    assert "lat_p50_ms" not in window.values
    assert window.sketches == {}


def test_a_restarted_pipe_counts_its_drops_anew() -> None:
    meter = WindowMeter(10.0)
    meter.begin(0.0)
    meter.drops({"late": 10})
    meter.restarted()
    meter.drops({"late": 2})

    window = meter.close(10.0, wall_s=0.0, machine={})

    assert window is not None
    assert (window.values["drops_late"], window.values["restarts"]) == (12.0, 1.0)


def test_no_time_no_window() -> None:
    meter = WindowMeter(10.0)

    assert meter.close(5.0, wall_s=0.0, machine={}) is None
    meter.begin(5.0)
    assert meter.close(5.0, wall_s=0.0, machine={}) is None


@pytest.mark.parametrize("edges", [(0.0, 0.0), (1.0,), tuple(range(500)), (3.0, 1.0)])
def test_edges_that_are_none_are_replaced(edges: tuple[float, ...]) -> None:
    meter = WindowMeter(1.0)
    meter.use_model("m", edges)
    meter.begin(0.0)
    meter.add(_item())

    window = meter.close(1.0, wall_s=0.0, machine={})

    assert window is not None
    assert window.sketches["score"].edges == UNIT_EDGES


def test_edges_of_the_bundle_are_used_and_windows_merge_into_frames() -> None:
    meter = WindowMeter(1.0)
    meter.use_model("m", (0.0, 0.1, 5.0))
    windows = []
    for now in (0.0, 1.0):
        meter.begin(now)
        meter.add(_item(score=9.0))
        window = meter.close(now + 1.0, wall_s=now, machine={})
        assert window is not None
        windows.append(window)

    columns, labels, sketches = columns_of(windows)

    assert columns["frames"] == (1.0, 1.0)
    assert labels == {"good": (1, 1)}
    assert sketches["score"].counts == (0, 2)


@given(st.lists(st.floats(min_value=0.011, max_value=1e5), min_size=1, max_size=200))
def test_percentiles_are_within_five_per_cent(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    for ms in durations:
        histogram.add(ms)

    for share in (0.5, 0.95, 0.99):
        rank = max(1, -(-len(durations) * share // 1))
        exact = sorted(durations)[int(rank) - 1]
        assert histogram.percentile(share) == pytest.approx(exact, rel=0.05)
    assert sum(histogram.sketch().counts) == len(durations)


def test_labels_are_bounded_and_an_empty_scene_counts() -> None:
    counter = LabelCounter()
    for number in range(MAX_LABELS + 50):
        counter.add((f"label-{number}",))
    assert len(counter.counts) == MAX_LABELS + 1
    assert counter.counts[OTHERS] == 50

    meter = HealthMeter(0.0)
    two = tuple(Detection(label="person", score=0.9, box=(0, 0, 1, 1)) for _ in range(2))
    meter.add(Item(0.0, 1.0, Result(task="detection", objects=two)))
    meter.add(Item(0.0, 1.0, Result(task="detection")))
    assert meter.labels.counts == {"person": 1, NOTHING: 1}


def test_a_slot_is_as_healthy_as_its_pipelines_together() -> None:
    first, second = HealthMeter(10.0), HealthMeter(12.0)
    for meter, ms in ((first, 2.0), (second, 30.0)):
        meter.add(_item(ms=ms))
        meter.add(Item(0.0, 1.0, None, "bad-output"))
        meter.add(Item(0.0, 1.0, None, "error"))
    second.restarts = 2

    health = combined([first, second], 20.0)

    assert health.elapsed_s == 8.0
    assert (health.errors, health.bad_outputs, health.restarts) == (2, 2, 2)
    assert health.p95_ms == pytest.approx(30.0, rel=0.05)
    assert health.label_counts == {"good": 2}
