"""Ranges: exact, bounded, and honest about numbers that are none."""

import numpy as np
import pytest

from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.quant.observe import HISTOGRAM_BINS, Histogram, MinMax, Range
from edgeops.errors import ConversionError
from tests.unit.converters.nets import conv_net, feeds, net, node


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
