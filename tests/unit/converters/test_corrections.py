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
from converters.quant.channel_classes import find_classes
from converters.quant.channel_scaling import can_scale, scale_channels
from converters.quant.equalization import equalize, find_pairs
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

    equal = scale_channels(graph, samples) if per_channel else equalize(graph, find_pairs(graph))

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

    for equal in (equalize(graph, find_pairs(graph)), scale_channels(graph, samples)):
        assert all(np.isfinite(value).all() for value in equal.constants.values())


def joined_net(last: str = "Relu") -> Graph:
    """Return a shuffled join of a strong and a weak branch, summed with a skip, and its end."""
    strength = np.array([1, 8, 0.05], np.float32)
    sizes = np.array([30, 0.02, 30, 0.16, 30, 0.001], np.float32)
    constants: dict[str, Array] = {
        "w1": floats(1, 3, 3, 3, 3) * 30,
        "w2": floats(2, 3, 3, 3, 3) * 0.02 * strength.reshape(-1, 1, 1, 1),
        "w3": floats(3, 6, 3, 1, 1) * sizes.reshape(-1, 1, 1, 1),
        "w4": floats(4, 4, 6, 1, 1) / sizes.reshape(1, -1, 1, 1),
        "order": np.array([0, 3, 1, 4, 2, 5], np.int64),
    }
    nodes = [
        node("Conv", "x w1", "a", name="strong", pads=[1, 1, 1, 1]),
        node("Relu", "a", "ra"),
        node("Conv", "x w2", "b", name="weak", pads=[1, 1, 1, 1]),
        node("Relu", "b", "rb"),
        node("Concat", "ra rb", "c", axis=1),
        node("Gather", "c order", "g", axis=1),
        node("Conv", "x w3", "d", name="skip"),
        node("Add", "g d", "s"),
        node(last, "s", "r"),
        node("Conv", "r w4", "y", name="last"),
    ]
    outputs = {"y": [1, 4, 9, 9]}
    return import_model(net(nodes, inputs={"x": list(SHAPE)}, outputs=outputs, constants=constants))


def test_weak_branch_keeps_its_steps_behind_a_join_shuffle_and_sum() -> None:
    graph = joined_net()
    samples = feeds("x", *SHAPE)

    equal = scale_channels(graph, samples)

    for before, after in zip(answers(graph, samples), answers(equal, samples), strict=True):
        size = float(np.abs(before["y"]).max())
        assert after["y"] == pytest.approx(before["y"], rel=1e-4, abs=1e-4 * size)
    assert noise(graph, equal) < 0.5 * noise(graph, graph)
    classes = find_classes(graph)
    assert classes.ids["s"].tolist() == classes.ids["d"].tolist() == classes.ids["g"].tolist()
    assert classes.ids["g"].tolist()[::2] == classes.ids["a"].tolist()
    assert not classes.free[classes.ids["y"]].any()


def test_curved_activation_holds_all_channels_that_lead_to_it() -> None:
    assert can_scale(joined_net())
    assert not can_scale(joined_net("Sigmoid"))
    curved = joined_net("Tanh")
    samples = feeds("x", *SHAPE)

    same = scale_channels(curved, samples).constants

    assert all(np.array_equal(same[name], value) for name, value in curved.constants.items())


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
    fitted = plans.plan(Rung("minmax", rounded=True, precision="int16x8"))
    for name, grid in fitted.plan.tensors.items():
        if grid.symmetric and grid.dtype == "int8":
            value = fitted.graph.constants[name]
            back = grid.dequantize(grid.quantize(value))
            assert back == pytest.approx(as_floats(value), rel=1e-5), "rounded twice"
    assert plans.plan(Rung("minmax", ("last",))).plan.islands["last"]
    rung = Rung("auto", equalized=True, corrected=True, rounded=True)
    best = plans.plan(rung)
    assert best.noise < 0.5 * plain.noise
    activations = [name for name in best.plan.tensors if name not in best.graph.constants]
    assert sum(plans.methods(rung, best.plan).values()) == len(activations)
    assert plans.methods(Rung("minmax"), plain.plan) == {"minmax": len(activations)}


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
