"""One-dimensional nets become two-dimensional ones that compute the same."""

import numpy as np
import pytest

from converters.arrays import Array
from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.quant.planner import plan_quantization
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.run import LiteRtModel
from tests.unit.converters.nets import feeds, floats, net, node


def line_net() -> bytes:
    """Return two convolutions with a residual, pools, and a dense layer."""
    constants: dict[str, Array] = {
        "w1": floats(1, 8, 3, 5, scale=0.3),
        "b1": floats(2, 8),
        "w2": floats(3, 8, 1, 3, scale=0.4),
        "k": floats(4, 8, 1),
        "w3": floats(5, 8, 4),
    }
    nodes = [
        node("Conv", "x w1 b1", "c1", strides=[2], pads=[1, 2]),
        node("Relu", "c1", "a1"),
        node("MaxPool", "a1", "p1", kernel_shape=[3], strides=[2], pads=[1, 1]),
        node("Conv", "p1 w2", "c2", group=8, pads=[2, 2], dilations=[2]),
        node("Mul", "c2 k", "m"),
        node("Add", "m p1", "s"),
        node("AveragePool", "s", "p2", kernel_shape=[2], strides=[2], ceil_mode=1),
        node("GlobalAveragePool", "p2", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f w3", "y"),
    ]
    return net(
        nodes, inputs={"x": ["N", 3, 41]}, outputs={"y": ["N", 4], "s": ["a", "b", "c"]},
        constants=constants,
    )  # fmt: skip


def test_a_line_net_computes_the_same() -> None:
    data = line_net()
    graph = import_model(data)
    original, hub = OrtModel(data), OrtModel(serialize(graph))
    lowered = LiteRtModel(lower_to_tflite(graph))

    for sample in feeds("x", 1, 3, 41):
        expected = original.run(sample)
        for name, value in expected.items():
            assert hub.run(sample)[name] == pytest.approx(value, abs=1e-5)
            assert lowered.run(sample)[name] == pytest.approx(value, abs=1e-5)


def test_a_line_net_moves_into_four_axes_once() -> None:
    graph = import_model(line_net())

    shapes = {node.op: len(graph.shape(node.inputs[0])) for node in graph.nodes}

    assert {shapes[op] for op in ("Conv", "MaxPool", "AveragePool", "Add")} == {4}
    assert sum(node.op == "Reshape" for node in graph.nodes) <= 3


def test_a_line_net_quantizes() -> None:
    graph = import_model(line_net())
    samples = feeds("x", 1, 3, 41, count=16)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)

    convolutions = {node.name for node in graph.nodes if node.op == "Conv"}
    found = LiteRtModel(lower_to_tflite(graph, plan))

    assert convolutions <= plan.quantized
    expected = [OrtModel(serialize(graph)).run(sample) for sample in samples]
    assert relative_noise(expected, [found.run(sample) for sample in samples]) < 0.01


def test_an_input_of_symbolic_length_stays_what_it_is() -> None:
    data = line_net()

    graph = import_model(data, batch=2)

    assert graph.shape("x") == (2, 3, 41)
    sample = {"x": floats(9, 2, 3, 41)}
    found = OrtModel(serialize(graph)).run(sample)["y"]
    assert np.allclose(found, OrtModel(data).run(sample)["y"], atol=1e-5)
