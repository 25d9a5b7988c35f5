"""Ranges: exact, bounded, and honest about numbers that are none."""

from dataclasses import replace

import numpy as np
import pytest

from converters.arrays import Feeds, as_floats
from converters.calibration import KEPT_SAMPLES, CalibrationMethod, Calibrator, calibrate
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.observe import HISTOGRAM_BINS, Histogram, MinMax, Range
from converters.segments import SegmentedModel, cuts_by_memory
from edgeops.errors import ConversionError
from tests.unit.converters.nets import conv_net, feeds, floats, net, node


def test_min_and_max_span_all_samples() -> None:
    watch = MinMax()

    watch.add(np.array([1.0, -2.0]))
    watch.add(np.array([5.0]))

    assert watch.range() == Range(-2.0, 5.0)


def test_percentile_leaves_outliers_out() -> None:
    values = np.append(np.linspace(-1, 1, 100_000), 50.0)
    histogram = Histogram(Range(-1.0, 50.0))

    histogram.add(values)

    assert histogram.percentile(1.0).high == 50.0
    assert histogram.percentile(0.9999).high == pytest.approx(1.0, abs=51 / HISTOGRAM_BINS)


def test_least_error_clips_outliers_only_where_that_pays() -> None:
    tailed, flat = Histogram(Range(0.0, 20.0)), Histogram(Range(0.0, 20.0))

    tailed.add(np.append(np.linspace(0, 10, 1_000_000), 20.0))
    flat.add(np.linspace(0, 20, 100_000))

    assert tailed.least_error().high < 15.0
    assert flat.least_error().high > 19.0


def test_calibration_sees_every_float_tensor_of_the_graph() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", 1, 3, 9, 9)

    calibration = calibrate(graph, lambda: samples)

    outputs = {name for n in graph.nodes for name in n.outputs}
    assert set(calibration.ranges) == {"x"} | outputs
    assert calibration.samples == len(samples)
    assert calibration.ranges["x"].low == min(float(s["x"].min()) for s in samples)
    assert calibration.ranges["y"].high <= 1.0


def test_calibration_refuses_no_samples_and_numbers_that_are_none() -> None:
    graph = import_model(net([node("Log", "x", "y")], inputs={"x": [1, 4]}, outputs={"y": [1, 4]}))

    with pytest.raises(ConversionError, match="no calibration sample"):
        calibrate(graph, list)
    with pytest.raises(ConversionError, match="'y' takes"):
        calibrate(graph, lambda: feeds("x", 1, 4))


def test_least_divergence_clips_a_thin_tail_and_keeps_an_even_range() -> None:
    tailed, even = Histogram(Range(0.0, 20.0)), Histogram(Range(0.0, 20.0))

    tailed.add(np.append(np.abs(floats(1, 200_000)), 20.0))
    tailed.add(np.abs(floats(2, 16_000)))
    even.add(np.linspace(0, 20, 16_000))

    assert tailed.least_divergence().high < 15.0
    assert even.least_divergence().high > 19.0


def test_every_method_of_the_same_samples_takes_two_passes() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", 1, 3, 9, 9)
    passes = 0

    def counted() -> list[Feeds]:
        nonlocal passes
        passes += 1
        return samples

    calibrator = Calibrator(graph, counted)
    assert passes == 1
    methods: tuple[CalibrationMethod, ...] = ("minmax", "percentile", "mse", "entropy", "auto")
    for method in methods:
        found = calibrator.ranges(method).ranges
        assert set(found) == set(calibrator.ranges("minmax").ranges)
    assert passes == 2
    assert set(calibrator.ranges("mse").methods.values()) == {"mse"}
    auto = calibrator.ranges("auto")
    assert auto.methods.keys() == auto.ranges.keys()
    for single in methods[:-1]:
        for name in (name for name, chosen in auto.methods.items() if chosen == single):
            assert auto.ranges[name] == calibrator.ranges(single).ranges[name]


def test_kept_samples_are_few_and_spread_evenly() -> None:
    graph = import_model(conv_net())
    samples: list[Feeds] = [
        {"x": np.full((1, 3, 9, 9), number, np.float32)} for number in range(100)
    ]

    kept = Calibrator(graph, lambda: samples).feeds()

    numbers = [int(as_floats(feed["x"]).flat[0]) for feed in kept]
    assert 8 <= len(numbers) <= KEPT_SAMPLES
    assert len(set(np.diff(numbers))) == 1
    assert numbers[-1] > 80


@pytest.mark.parametrize("limit", [1, 2000, 1 << 30])
def test_slices_compute_what_the_whole_graph_does(limit: int) -> None:
    graph = import_model(conv_net())
    watched = [name for node in graph.nodes for name in node.outputs]
    cuts = cuts_by_memory(graph, watched, limit)
    whole = OrtModel(serialize(replace(graph, outputs=tuple(watched))), optimize=False)

    for sample in feeds("x", 1, 3, 9, 9):
        expected = whole.run(sample)
        found: Feeds = {}
        for made in SegmentedModel(graph, cuts, watched).run(sample):
            assert not made.keys() & found.keys()
            found |= made
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert len(cuts) == {1: len(graph.nodes) - 1, 1 << 30: 0}.get(limit, len(cuts))


def test_what_a_slice_hands_out_may_be_changed_before_the_next_reads_it() -> None:
    nodes = [node("Relu", "x", "a"), node("Neg", "a", "y")]
    graph = import_model(net(nodes, inputs={"x": [1, 4]}, outputs={"y": [1, 4]}))
    run = SegmentedModel(graph, (1,), ["a"]).run({"x": np.ones((1, 4), np.float32)})

    next(run)["a"] = np.full((1, 4), 7, np.float32)

    assert np.array_equal(next(run)["y"], np.full((1, 4), -7, np.float32))
