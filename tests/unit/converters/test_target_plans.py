"""What a target asks of the plan: integer outputs, and weights that 16-bit sums can hold."""

from pathlib import Path

import numpy as np
import pytest

from converters.arrays import as_floats
from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.equalization import channel_magnitudes, equalize, find_pairs
from converters.quant.plan import QuantPlan
from converters.quant.planner import plan_quantization
from converters.quant.weights import FULL_RANGE, REDUCED_RANGE, weight_grid
from converters.recipe import Output
from converters.refusals import refusal_of
from converters.target_check import ForeignOperatorsError, arena_bytes, check_opset, check_tflite
from converters.targets import Target, load_target
from converters.tflite.catalog import lower_to_tflite
from converters.variants import write_variant
from edgeops.errors import ConversionError
from tests.unit.converters.nets import conv_net, feeds, floats, net, node

GRAPH = import_model(conv_net())
PER_OUTPUT = 0


def planned(*, integer_tail: bool = False, reduce_range: bool = False) -> QuantPlan:
    shape = GRAPH.shape(GRAPH.inputs[0])
    samples = feeds(GRAPH.inputs[0], *shape)
    ranges = calibrate(GRAPH, lambda: samples).ranges
    return plan_quantization(GRAPH, ranges, integer_tail=integer_tail, reduce_range=reduce_range)


def test_integer_outputs_take_what_follows_the_last_layer_along() -> None:
    last = GRAPH.nodes[-1].name
    assert last in planned().islands
    plan = planned(integer_tail=True)
    assert last in plan.quantized
    assert GRAPH.outputs[0] in plan.tensors


def test_reduced_weights_cannot_saturate_a_sum_of_two_products() -> None:
    assert 2 * 255 * REDUCED_RANGE < 2**15
    assert 2 * 255 * (REDUCED_RANGE + 2) > 2**15, "and not smaller than needed"
    full, reduced = planned(), planned(reduce_range=True)
    layers = [n for n in GRAPH.nodes if n.op in {"Conv", "Gemm"}]
    for layer in layers:
        name = layer.inputs[1]
        steps = np.abs(reduced.tensors[name].quantize(GRAPH.constants[name]).astype(np.int64))
        assert steps.max() == REDUCED_RANGE
        assert full.tensors[name].scale[0] < reduced.tensors[name].scale[0]
        bias, source = layer.inputs[2], reduced.tensors[layer.inputs[0]].scale[0]
        expected = [scale * source for scale in reduced.tensors[name].scale]
        assert reduced.tensors[bias].scale == pytest.approx(expected)


def test_the_largest_weight_becomes_the_largest_step() -> None:
    weights = floats(1, 4, 6)
    for largest in (FULL_RANGE, REDUCED_RANGE):
        grid = weight_grid(weights, None, 1.0, PER_OUTPUT, largest=largest)
        steps = np.abs(grid.quantize(weights).astype(np.int64))
        assert (steps.max(axis=1) == largest).all()


def lowered(op: str) -> bytes:
    nodes = [
        node("Conv", "x w", "c", name="layer"),
        node(op, "c", "y", name="after"),
    ]
    graph = import_model(
        net(
            nodes,
            inputs={"x": [1, 3, 4, 4]},
            outputs={"y": [1, 2, 4, 4]},
            constants={"w": floats(1, 2, 3, 1, 1)},
        )
    )
    return lower_to_tflite(graph).data


def test_operators_outside_a_targets_list_are_all_named() -> None:
    edgetpu = load_target("edgetpu")
    check_tflite(lowered("Tanh"), edgetpu)
    check_tflite(lowered("Exp"), Target())

    with pytest.raises(
        ForeignOperatorsError, match="the target edgetpu does not know EXP"
    ) as found:
        check_tflite(lowered("Exp"), edgetpu)

    assert [node.operator for node in found.value.nodes] == ["EXP"]
    refusal = refusal_of(GRAPH, Output(runtime="tflite", precision="int8"), found.value)
    assert [node.operator for node in refusal.nodes] == ["EXP"]


def test_an_opset_beyond_the_targets_is_refused() -> None:
    check_opset(17, Target(max_opset=17))
    with pytest.raises(ConversionError, match="needs ONNX operator set 18"):
        check_opset(18, Target(max_opset=17))


def test_the_arena_of_a_file_is_that_of_its_largest_step() -> None:
    """Image 48 and convolution 32 values of float32: the transposed image is the largest step."""
    found = arena_bytes(lowered("Tanh"))
    assert (48 + 32) * 4 <= found <= (48 + 48 + 32) * 4


def test_dynamic_files_that_gain_nothing_are_refused(tmp_path: Path) -> None:
    """The one layer that ONNX Runtime can take is a thousandth of the work and of the bytes."""
    nodes = [
        node("Conv", "x w", "c", name="wide"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f v", "y", name="narrow"),
    ]
    graph = import_model(
        net(
            nodes,
            inputs={"x": [1, 64, 8, 8]},
            outputs={"y": [1, 2]},
            constants={"w": floats(1, 64, 64, 3, 3), "v": floats(2, 64, 2)},
        )
    )
    with pytest.raises(ConversionError, match="dynamic-int8 would change next to nothing"):
        write_variant(
            tmp_path,
            graph,
            Output(runtime="onnx", precision="dynamic-int8"),
            plan=None,
            layout="nchw",
        )


def test_balancing_leaves_dead_channels_and_the_activations_grid_alone() -> None:
    """Folded BatchNorms leave channels of 1e-30, and channels that are nearly bias alone."""
    first = floats(1, 6, 3, 1, 1)
    first[0] = 1e-30
    first[1] *= 1e-3
    bias = np.array([0, 2, 0, 0, 0, 0], np.float32)
    second = floats(2, 4, 6, 1, 1)
    second[:, 2] *= 20
    graph = import_model(
        net(
            [
                node("Conv", "x w b", "c", name="first"),
                node("Relu", "c", "r"),
                node("Conv", "r v", "y", name="second"),
            ],
            inputs={"x": [1, 3, 4, 4]},
            outputs={"y": [1, 4, 4, 4]},
            constants={"w": first, "b": bias, "v": second},
        )
    )
    samples = feeds("x", 1, 3, 4, 4)
    pairs = find_pairs(graph)
    before = channel_magnitudes(graph, pairs, samples)

    balanced = equalize(graph, pairs, before)

    after = channel_magnitudes(balanced, pairs, samples)
    name = pairs[0].between
    assert after[name].max() <= before[name].max() * 1.0001
    scaled = np.abs(balanced.constants["v"]).max(axis=(0, 2, 3))
    assert scaled.max() / scaled[2:].min() < 20, "the wide channel has come nearer to the others"
    exact, found = OrtModel(serialize(graph)), OrtModel(serialize(balanced))
    for sample in samples:
        wanted, given = as_floats(exact.run(sample)["y"]), as_floats(found.run(sample)["y"])
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)
