"""The plan and the ONNX file made of it; each known pitfall has its test."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.arrays import Array
from converters.calibration import calibrate
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.quant.observe import Range
from converters.quant.plan import QuantPlan, asymmetric_grid
from converters.quant.planner import SENSITIVE, plan_quantization
from converters.quant.sensitivity import rank_layers
from converters.quant.weights import MAX_BIAS_STEPS, bias_grid, weight_grid
from converters.quant.write_onnx import write_onnx_int8
from converters.quant.write_weights import write_onnx_dynamic, write_onnx_float16
from edgeops.errors import ConversionError
from tests.unit.converters.nets import conv_net, feeds, floats, net, node

SHAPE = (1, 3, 9, 9)


def planned(graph: Graph, shape: tuple[int, ...] = SHAPE) -> QuantPlan:
    samples = feeds(graph.inputs[0], *shape)
    return plan_quantization(graph, calibrate(graph, lambda: samples).ranges)


def noise(graph: Graph, data: bytes, shape: tuple[int, ...] = SHAPE) -> float:
    samples = feeds(graph.inputs[0], *shape)
    reference = OrtModel(serialize(graph))
    model = OrtModel(data)
    return relative_noise([reference.run(s) for s in samples], (model.run(s) for s in samples))


@given(st.floats(-1e6, 0), st.floats(0, 1e6), st.floats(0, 1))
def test_grid_holds_zero_exactly_and_the_rest_within_half_a_step(
    low: float, high: float, where: float
) -> None:
    grid = asymmetric_grid(low, high)
    value = np.array([0.0, low + (high - low) * where])

    back = grid.dequantize(grid.quantize(value))

    assert back[0] == 0.0
    assert abs(back[1] - value[1]) <= grid.scale[0] * 1.01


def test_all_zero_channel_gets_a_harmless_scale() -> None:
    weights = floats(1, 4, 3)
    weights[2] = 0.0
    bias = np.array([0.1, 0.1, 5.0, 0.1], np.float32)

    grid = weight_grid(weights, bias, 1e-3, 0)
    steps = bias_grid(grid, 1e-3)

    assert all(np.isfinite(steps.scale))
    assert np.abs(steps.quantize(bias)).max() <= MAX_BIAS_STEPS
    assert steps.dequantize(steps.quantize(bias)) == pytest.approx(bias, rel=1e-3)


def test_bias_that_would_overflow_coarsens_its_channel_only() -> None:
    weights = np.full((2, 3), 1e-9, np.float32)
    weights[0] = 1.0
    bias = np.array([1.0, 100.0], np.float32)

    grid = weight_grid(weights, bias, 1e-6, 0)

    assert grid.scale[0] == pytest.approx(1 / 127)
    stored = bias_grid(grid, 1e-6).quantize(bias)
    assert abs(int(stored[1])) <= MAX_BIAS_STEPS


def test_plan_is_per_channel_with_bias_axis_zero() -> None:
    graph = import_model(conv_net())
    plan = planned(graph)

    for layer in (n for n in graph.nodes if n.op in {"Conv", "Gemm"}):
        weights, bias = plan.tensors[layer.inputs[1]], plan.tensors[layer.inputs[2]]
        outputs = graph.constants[layer.inputs[1]].shape[0]
        assert weights.axis == bias.axis == 0
        assert len(weights.scale) == len(bias.scale) == outputs
        assert bias.dtype == "int32"
        step = plan.tensors[layer.inputs[0]].scale[0]
        assert bias.scale == pytest.approx([s * step for s in weights.scale])


def test_activation_lives_inside_its_layer_and_means_have_a_finer_grid() -> None:
    graph = import_model(conv_net())
    plan = planned(graph)
    conv, clip = graph.nodes[0], graph.nodes[1]
    pool = next(n for n in graph.nodes if n.op == "GlobalAveragePool")

    assert conv.outputs[0] not in plan.tensors
    assert plan.tensors[clip.outputs[0]].zero_point == (-128,)
    assert plan.tensors[pool.outputs[0]].scale < plan.tensors[pool.inputs[0]].scale


def test_maximum_pools_keep_the_grid() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("MaxPool", "a", "p", kernel_shape=[2, 2]),
        node("Conv", "p v", "y"),
    ]
    graph = import_model(
        net(
            nodes,
            inputs={"x": [1, 3, 4, 4]},
            outputs={"y": [1, 2, 3, 3]},
            constants={"w": floats(1, 4, 3, 1, 1), "v": floats(2, 2, 4, 1, 1)},
        )
    )
    plan = planned(graph, (1, 3, 4, 4))

    assert plan.tensors["p"] == plan.tensors["a"]


def test_softmax_after_the_last_layer_stays_float_and_all_macs_are_integer() -> None:
    graph = import_model(conv_net())
    plan = planned(graph)

    assert [graph.nodes[-1].name] == list(plan.islands)
    assert plan.quantized_macs == 1.0


def test_layers_kept_float_are_named_with_the_reason() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", *SHAPE)
    ranges = calibrate(graph, lambda: samples).ranges
    name = graph.nodes[0].name

    plan = plan_quantization(graph, ranges, keep_float=[name])

    assert plan.islands[name] == SENSITIVE
    assert 0 < plan.quantized_macs < 1
    assert noise(graph, write_onnx_int8(graph, plan)) < 0.01


def two_branches(factor: float) -> Graph:
    constants: dict[str, Array] = {
        "w1": floats(1, 2, 3, 1, 1), "w2": floats(2, 2, 3, 1, 1) * np.float32(factor),
        "w3": floats(3, 2, 4, 1, 1),
    }  # fmt: skip
    nodes = [
        node("Conv", "x w1", "a"),
        node("Conv", "x w2", "b"),
        node("Concat", "a b", "c", axis=1),
        node("Conv", "c w3", "y"),
    ]
    return import_model(
        net(nodes, inputs={"x": [1, 3, 9, 9]}, outputs={"y": [1, 2, 9, 9]}, constants=constants)
    )


def test_concat_shares_one_grid_unless_that_would_ruin_an_input() -> None:
    close, far = planned(two_branches(1.5)), planned(two_branches(100.0))

    assert close.tensors["a"] == close.tensors["b"] == close.tensors["c"]
    assert far.tensors["a"].scale[0] * 4 < far.tensors["c"].scale[0]
    assert far.tensors["b"] == far.tensors["c"]


def test_nodes_after_the_last_layer_stay_float() -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
        node("Sigmoid", "t", "y"),
    ]
    graph = import_model(
        net(
            nodes,
            inputs={"x": [1, 3, 4, 4]},
            outputs={"y": [1, 4, 4, 2]},
            constants={"w": floats(1, 2, 3, 1, 1)},
        )
    )

    assert set(planned(graph, (1, 3, 4, 4)).islands) == {graph.nodes[1].name, graph.nodes[2].name}


def test_model_without_layers_has_nothing_to_quantize() -> None:
    graph = import_model(net([node("Relu", "x", "y")], inputs={"x": [1, 3]}, outputs={"y": [1, 3]}))

    plan = planned(graph, (1, 3))

    assert plan.quantized_macs == 0
    assert not plan.quantized


def test_both_spellings_hold_the_same_numbers() -> None:
    graph = import_model(conv_net())
    plan = planned(graph)
    samples = feeds("x", *SHAPE)

    unsigned = OrtModel(write_onnx_int8(graph, plan), optimize=False)
    signed = OrtModel(write_onnx_int8(graph, plan, activations="int8"), optimize=False)

    for sample in samples:
        assert np.array_equal(unsigned.run(sample)["y"], signed.run(sample)["y"])


def test_file_runs_as_written_and_as_optimised() -> None:
    graph = import_model(conv_net())
    data = write_onnx_int8(graph, planned(graph))

    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    assert noise(graph, data) < 0.01
    for sample in feeds("x", *SHAPE):
        plain = OrtModel(data, optimize=False).run(sample)["y"]
        assert OrtModel(data).run(sample)["y"] == pytest.approx(plain, abs=0.02)


def test_weights_are_symmetric_int8_and_activations_uint8() -> None:
    graph = import_model(conv_net())
    model = onnx.load_model_from_string(write_onnx_int8(graph, planned(graph)))
    stored = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}

    weights = [v for v in stored.values() if v.dtype == np.int8 and v.ndim > 1]
    points = [v for k, v in stored.items() if "zero_point" in k and v.dtype == np.uint8]

    assert len(weights) == 3
    assert all(w.min() >= -127 for w in weights)
    assert points


def test_sensitivity_finds_the_layer_that_integers_ruin() -> None:
    # The first layer's second channel carries the answer, its first one only sets the range.
    constants: dict[str, Array] = {
        "w1": np.array([[1000.0, 0], [0, 1]], np.float32).reshape(2, 2, 1, 1),
        "w2": np.array([[0.0, 1], [0, -1]], np.float32).reshape(2, 2, 1, 1),
        "w3": floats(3, 3, 2, 1, 1),
    }
    nodes = [
        node("Conv", "x w1", "a", name="first"),
        node("Conv", "a w2", "b", name="second"),
        node("Conv", "b w3", "y", name="third"),
    ]
    graph = import_model(
        net(nodes, inputs={"x": [1, 2, 4, 4]}, outputs={"y": [1, 3, 4, 4]}, constants=constants)
    )
    samples = feeds("x", 1, 2, 4, 4)
    ranges = calibrate(graph, lambda: samples).ranges

    ranked = rank_layers(graph, ranges, samples)

    assert ranked[-1].node == "third"
    assert ranked[0].noise > 10 * ranked[-1].noise


def test_float16_and_dynamic_files_are_smaller_and_close() -> None:
    graph = import_model(
        net(
            [node("Gemm", "x w b", "h"), node("Relu", "h", "r"), node("Gemm", "r v c", "y")],
            inputs={"x": [1, 64]},
            outputs={"y": [1, 8]},
            constants={
                "w": floats(1, 64, 32),
                "b": floats(2, 32),
                "v": floats(3, 32, 8),
                "c": floats(4, 8),
            },
        )
    )
    half = write_onnx_float16(graph)
    dynamic, layers = write_onnx_dynamic(graph)

    assert len(dynamic) < len(half) < len(serialize(graph))
    assert len(layers) == 2
    assert noise(graph, half, (1, 64)) < 1e-6
    assert noise(graph, dynamic, (1, 64)) < 1e-3


def test_dynamic_refuses_a_model_it_would_not_change() -> None:
    graph = import_model(
        net(
            [node("Conv", "x w", "y")],
            inputs={"x": [1, 3, 4, 4]},
            outputs={"y": [1, 2, 4, 4]},
            constants={"w": floats(1, 2, 3, 1, 1)},
        )
    )

    with pytest.raises(ConversionError, match="the model has none"):
        write_onnx_dynamic(graph)


def test_range_width_counts_zero() -> None:
    assert Range(2.0, 3.0).width == 3.0
    assert Range(-1.0, -0.5).width == 1.0


def test_runtime_does_not_quantize_what_was_kept_float() -> None:
    """ONNX Runtime quantizes float layers between integer ones by itself unless shielded."""
    trap = np.concatenate([np.eye(3), np.full((3, 1), 1000.0)], axis=1).reshape(3, 4, 1, 1)
    spread = np.concatenate([np.eye(3), np.zeros((1, 3))]).reshape(4, 3, 1, 1)
    constants: dict[str, Array] = {
        "w1": spread.astype(np.float32),
        "w2": trap.astype(np.float32),
        "w3": floats(1, 3, 3, 1, 1),
    }
    nodes = [
        node("Conv", "x w1", "a"),
        node("Conv", "a w2", "b", name="trap"),
        node("Relu", "b", "r"),
        node("Conv", "r w3", "y"),
    ]
    graph = import_model(
        net(nodes, inputs={"x": [1, 3, 9, 9]}, outputs={"y": [1, 3, 9, 9]}, constants=constants)
    )
    samples = feeds("x", *SHAPE)
    ranges = calibrate(graph, lambda: samples).ranges

    ruined = write_onnx_int8(graph, plan_quantization(graph, ranges))
    kept = write_onnx_int8(graph, plan_quantization(graph, ranges, keep_float=["trap"]))

    assert noise(graph, ruined) > 0.3
    assert noise(graph, kept) < 1e-3
