"""Equalization keeps the float function; bias correction brings the means back."""

from dataclasses import replace

import numpy as np
import onnx.helper
import pytest

from converters.arrays import Array, Feeds, as_floats
from converters.calibration import CalibrationMethod, Calibrator, calibrate
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.quant.bias_correction import correct_biases
from converters.quant.equalization import channel_magnitudes, equalize, find_pairs
from converters.quant.ladder import Rung
from converters.quant.noise import answers, head_tensors, mean_noise, watch_heads, with_outputs
from converters.quant.observe import MinMax, Range
from converters.quant.planner import plan_quantization
from converters.quant.rounding import round_weights
from converters.quant.rung_plans import RungPlans
from converters.quant.stability import most_unstable
from tests.unit.converters.nets import conv_net, feeds, floats, net, node

SHAPE = (1, 3, 9, 9)
SPREAD = np.array([1e-2, 1, 30, 0.2, 5, 0.05], np.float32)


def uneven_net(activation: str = "Relu", **attributes: float) -> Graph:
    """Return conv, depthwise conv, pointwise conv whose channels differ 3000-fold in size."""
    constants: dict[str, Array] = {
        "w1": floats(1, 6, 3, 3, 3) * SPREAD.reshape(-1, 1, 1, 1),
        "b1": floats(2, 6) * SPREAD,
        "w2": floats(3, 6, 1, 3, 3),
        "b2": floats(4, 6),
        "w3": floats(5, 4, 6, 1, 1) / SPREAD.reshape(1, -1, 1, 1),
    }
    nodes = [
        node("Conv", "x w1 b1", "a", name="first", pads=[1, 1, 1, 1]),
        onnx.helper.make_node(activation, ["a"], ["r"], **attributes),
        node("Conv", "r w2 b2", "d", name="depthwise", group=6, pads=[1, 1, 1, 1]),
        node("Relu", "d", "s"),
        node("MaxPool", "s", "m", kernel_shape=[2, 2]),
        node("Conv", "m w3", "y", name="last"),
    ]
    return import_model(
        net(nodes, inputs={"x": list(SHAPE)}, outputs={"y": [1, 4, 8, 8]}, constants=constants)
    )


def noise(original: Graph, graph: Graph, *, per_channel: bool = True) -> float:
    samples = feeds("x", *SHAPE)
    plan = plan_quantization(
        graph, calibrate(graph, lambda: samples).ranges, per_channel=per_channel
    )
    heads = head_tensors(graph)
    return mean_noise(answers(original, samples), answers(watch_heads(graph, plan, heads), samples))


def test_pairs_reach_over_what_keeps_channels_apart_and_no_further() -> None:
    pairs = [(pair.first, pair.second) for pair in find_pairs(uneven_net())]

    assert pairs == [("first", "depthwise"), ("depthwise", "last")]
    assert len(find_pairs(uneven_net("LeakyRelu", alpha=0.1))) == 2
    for curved in ("HardSwish", "Sigmoid", "Tanh"):
        assert [pair.first for pair in find_pairs(uneven_net(curved))] == ["depthwise"]


def test_bounded_activation_and_second_reader_forbid_equalization() -> None:
    # conv, Clip(0, 6), depthwise conv, Relu, and an Add that reads the first one again
    assert find_pairs(import_model(conv_net())) == ()


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Identity"])
def test_equalized_graph_computes_the_same_in_float_and_better_in_integers(
    activation: str, per_channel: bool
) -> None:
    graph = uneven_net(activation)
    samples = feeds("x", *SHAPE)
    pairs = find_pairs(graph)
    seen = channel_magnitudes(graph, pairs, samples) if per_channel else None

    equal = equalize(graph, pairs, seen)

    for before, after in zip(answers(graph, samples), answers(equal, samples), strict=True):
        size = float(np.abs(before["y"]).max())
        assert after["y"] == pytest.approx(before["y"], rel=1e-4, abs=1e-4 * size)
    assert noise(graph, equal, per_channel=per_channel) < 0.2 * noise(
        graph, graph, per_channel=per_channel
    )


def test_dead_channels_survive_equalization() -> None:
    alive = np.array([1, 0, 1, 1, 1, 1], np.float32)
    source = uneven_net()
    dead = {
        "w1": as_floats(source.constants["w1"]) * alive.reshape(-1, 1, 1, 1),
        "b1": as_floats(source.constants["b1"]) * alive,
    }
    graph = replace(source, constants={**source.constants, **dead})
    samples = feeds("x", *SHAPE)
    pairs = find_pairs(graph)

    equal = equalize(graph, pairs, channel_magnitudes(graph, pairs, samples))

    assert all(np.isfinite(value).all() for value in equal.constants.values())


def test_bias_correction_brings_each_channels_mean_back() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", *SHAPE, count=16)
    heads = head_tensors(graph)
    ranges = {
        name: limit if name in heads else Range(limit.low / 2, limit.high / 2)
        for name, limit in calibrate(graph, lambda: samples).ranges.items()
    }
    plan = plan_quantization(graph, ranges)

    done = correct_biases(graph, plan, samples)

    assert done.corrected
    expected = answers(with_outputs(graph, heads), samples)
    corrected_plan = plan_quantization(done.graph, ranges)
    before = answers(watch_heads(graph, plan, heads), samples)
    after = answers(watch_heads(done.graph, corrected_plan, heads), samples)
    assert mean_error(expected, after) < 0.2 * mean_error(expected, before)
    assert mean_noise(expected, after) < mean_noise(expected, before)
    assert graph.constants.keys() <= done.graph.constants.keys()


def test_correction_that_does_not_hold_on_other_samples_is_reverted() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", *SHAPE, count=8)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)

    done = correct_biases(graph, plan, samples)

    # Fine grids leave errors without a common mean: for some layer there is nothing to find.
    assert done.reverted
    assert not set(done.corrected) & set(done.reverted)
    assert correct_biases(graph, plan, samples[:1]).graph is graph


def test_rounding_that_fits_the_inputs_leaves_less_noise_than_the_nearest_steps() -> None:
    """Neighbouring pixels are alike, which the nearest steps do not make use of."""
    graph = import_model(conv_net())
    smooth, unseen = [smoothed(seed) for seed in range(16)], [smoothed(s) for s in range(50, 58)]
    plan = plan_quantization(graph, calibrate(graph, lambda: smooth).ranges)
    grids = {name: grid for name, grid in plan.tensors.items() if grid.symmetric}
    exact = {name: graph.constants[name] for name in grids}
    nearest = {name: grids[name].dequantize(grids[name].quantize(exact[name])) for name in grids}

    fitted = round_weights(graph, plan, smooth)

    assert fitted.keys() == grids.keys()
    for name, value in fitted.items():
        back = grids[name].dequantize(grids[name].quantize(value))
        assert back == pytest.approx(as_floats(value), rel=1e-6), "not on the grid"
    heads = head_tensors(graph)
    expected = answers(with_outputs(graph, heads), unseen)

    def left(weights: dict[str, Array]) -> float:
        changed = replace(graph, constants={**graph.constants, **weights})
        return mean_noise(expected, answers(with_outputs(changed, heads), unseen))

    assert left(fitted) < 0.6 * left(dict(nearest))
    assert round_weights(graph, plan, smooth[:1]) == {}


def smoothed(seed: int) -> Feeds:
    """Return an image whose neighbouring pixels are alike."""
    image = floats(seed, *SHAPE)
    for axis in (2, 3):
        image = image + np.roll(image, 1, axis) + np.roll(image, 2, axis)
    return {"x": as_floats(image)}


def mean_error(expected: list[dict[str, Array]], found: list[dict[str, Array]]) -> float:
    """Return the size of the mean error over all samples."""
    errors = [
        have[name].astype(np.float64) - want[name].astype(np.float64)
        for want, have in zip(expected, found, strict=True)
        for name in want
    ]
    return float(np.abs(np.mean(errors, axis=0)).sum())


def test_auto_holds_on_samples_it_never_saw() -> None:
    graph = import_model(conv_net())
    outlier: Feeds = {"x": floats(9, *SHAPE, scale=8)}
    samples = [*feeds("x", *SHAPE, count=40), outlier]
    unseen: list[Feeds] = [{"x": floats(500 + number, *SHAPE)} for number in range(30)]
    calibrator = Calibrator(graph, lambda: samples)
    heads = head_tensors(graph)
    expected = answers(with_outputs(graph, heads), unseen)

    def of(method: CalibrationMethod) -> float:
        plan = plan_quantization(graph, calibrator.ranges(method).ranges)
        return mean_noise(expected, answers(watch_heads(graph, plan, heads), unseen))

    best = min(of("minmax"), of("percentile"), of("mse"), of("entropy"))
    assert of("auto") <= 1.2 * best
    assert of("auto") < of("minmax"), "the outlier still sets the grids"


def test_plans_of_all_rungs_are_made_from_one_model() -> None:
    samples = feeds("x", *SHAPE, count=12)
    plans = RungPlans(uneven_net(), lambda: samples)

    plain = plans.plan(Rung("minmax"))
    equal = plans.plan(Rung("minmax", equalized=True))
    wide = plans.plan(Rung("minmax", precision="int16x8"))

    assert plans.can_equalize
    assert equal.noise < plain.noise
    assert wide.plan.activations == "int16"
    assert plans.plan(Rung("minmax", ("last",))).plan.islands["last"]
    best = plans.plan(Rung("auto", equalized=True, corrected=True, rounded=True))
    assert best.noise < 0.5 * plain.noise


def watch(spans: list[tuple[float, float]]) -> MinMax:
    found = MinMax()
    for span in spans:
        found.add(np.array(span))
    return found


def test_range_that_one_sample_decides_is_called_unstable() -> None:
    steady = watch([(-1.0, 1.0)] * 20)
    rare = watch([(-1.0, 1.0)] * 19 + [(-1.0, 9.0)])
    ranges = {"steady": Range(-1, 1), "rare": Range(-1, 9)}

    found = most_unstable({"steady": steady, "rare": rare}, ranges, ["steady", "rare"])

    assert found is not None
    assert found.tensor == "rare"
    assert found.advised > 20
    assert "'rare'" in found.warning
    assert most_unstable({"steady": steady}, ranges, ["steady"]) is None
    assert most_unstable({"rare": rare}, {"rare": Range(-1, 1)}, ["rare"]) is None, "clipped"


def test_three_samples_are_few_whatever_they_say() -> None:
    found = most_unstable({"t": watch([(-1.0, 1.0)] * 3)}, {"t": Range(-1, 1)}, ["t"])

    assert found is not None
    assert found.samples == 3
