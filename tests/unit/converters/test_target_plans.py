"""What a target asks of the plan: integer outputs, and weights that 16-bit sums can hold."""

import numpy as np
import pytest

from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.quant.plan import QuantPlan
from converters.quant.planner import plan_quantization
from converters.quant.weights import FULL_RANGE, REDUCED_RANGE, weight_grid
from tests.unit.converters.nets import conv_net, feeds, floats

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
