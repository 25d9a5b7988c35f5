"""Integer TFLite files: edges, 16-bit activations, size, one accelerated piece."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converters.arrays import Array, Feeds, as_floats
from converters.calibration import calibrate
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.operators import INTEGER_FORMS, integer_operators
from converters.quant.plan import QuantPlan
from converters.quant.planner import plan_quantization
from converters.quant.simulate import Simulation
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import HANDLERS, lower_to_tflite
from converters.tflite.lowering import EdgeType
from converters.tflite.partitions import delegate_partitions
from edgeops.errors import UnsupportedModelError
from edgeops.inference.arithmetic import dequantize, quantize
from edgeops.inference.runtimes.loading import open_model
from tests.unit.converters.nets import conv_net, feeds, floats, net, node
from tests.unit.converters.nets_cnn import FAMILIES, SIZE
from tests.unit.converters.tflite_runner import TfliteRunner

IMAGES = feeds("x", 1, 3, SIZE, SIZE, count=8)


@cache
def family(name: str, *, bits: int = 8) -> tuple[Graph, QuantPlan]:
    graph = import_model(FAMILIES[name]())
    ranges = calibrate(graph, lambda: IMAGES).ranges
    return graph, plan_quantization(graph, ranges, activations="int8" if bits == 8 else "int16")


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_network_is_one_accelerated_piece(name: str) -> None:
    graph, plan = family(name)

    assert delegate_partitions(lower_to_tflite(graph, plan).data) == 1
    assert delegate_partitions(lower_to_tflite(graph).data) == 1


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_sixteen_bits_are_closer_to_float(name: str) -> None:
    graph, wide = family(name, bits=16)
    _, narrow = family(name)
    output = graph.outputs[0]
    reference = OrtModel(serialize(graph))
    real = as_floats(np.stack([reference.run(sample)[output] for sample in IMAGES]))

    tflite = TfliteRunner(lower_to_tflite(graph, wide))
    found, exact, coarse = (
        as_floats(np.stack([model.run(sample)[output] for sample in IMAGES]))
        for model in (tflite, Simulation(graph, wide), Simulation(graph, narrow))
    )

    assert wide.quantized_macs == 1.0
    # What is left is the error of the weights, which have 8 bits in both.
    assert np.mean((found - real) ** 2) < np.mean((coarse - real) ** 2)
    assert np.abs(found - exact).max() < 1e-3 * np.abs(real).max()
    layer = next(one for one in graph.nodes if one.op == "Conv")
    assert wide.tensors[layer.inputs[0]].dtype == "int16"
    assert wide.tensors[layer.inputs[2]].dtype == "int64"


def test_onnx_refuses_sixteen_bits_with_the_reason() -> None:
    graph, plan = family("mobilenet-v1", bits=16)

    with pytest.raises(UnsupportedModelError, match="16-bit activations"):
        write_onnx_int8(graph, plan)


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_integer_edges_hold_the_same_numbers(io: EdgeType, tmp_path: Path) -> None:
    """The file runs through the inference runtime, which quantizes by the tensor's grid."""
    graph, plan = family("mobilenet-v1")
    output = graph.outputs[0]
    reference = TfliteRunner(lower_to_tflite(graph, plan))
    path = tmp_path / "edges.tflite"
    path.write_bytes(lower_to_tflite(graph, plan, io=io).data)

    model = open_model(path, "tflite")
    try:
        source, result = model.inputs[0], model.outputs[0]
        assert source.dtype == result.dtype == io
        for sample in IMAGES:
            image = np.ascontiguousarray(sample["x"].transpose(0, 2, 3, 1)).astype(np.float32)
            tensor = np.empty(image.shape, source.dtype)
            quantize(image, source, tensor)
            answer = dequantize(model.run([tensor])[0], result)
            assert answer == pytest.approx(reference.run(sample)[output], abs=1e-6)
    finally:
        model.close()


def test_edges_of_float_islands_stay_float() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", 1, 3, 9, 9)
    ranges = calibrate(graph, lambda: samples).ranges
    plan = plan_quantization(graph, ranges, keep_float=[graph.nodes[0].name])

    interpreter = Interpreter(model_content=lower_to_tflite(graph, plan, io="int8").data)

    edges = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert [edge["dtype"] for edge in edges] == [np.float32, np.float32]


def test_integer_tail_gives_integer_outputs() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", 1, 3, 9, 9)
    ranges = calibrate(graph, lambda: samples).ranges
    plan = plan_quantization(graph, ranges, integer_tail=True)

    interpreter = Interpreter(model_content=lower_to_tflite(graph, plan, io="int8").data)

    assert not plan.islands
    assert interpreter.get_output_details()[0]["dtype"] == np.int8
    assert interpreter.get_output_details()[0]["quantization"] == (1 / 256, -128)
    operators = lower_to_tflite(graph, plan, io="int8").operators
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators)


def test_zero_points_of_all_channels_are_stored_once() -> None:
    graph, plan = family("mobilenet-v2")
    data = lower_to_tflite(graph, plan).data
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    channels = sum(
        len(tensor.quantization.scale)
        for tensor in model.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.scale is not None
    )

    packed = data.count(bytes(8 * 24))

    assert channels > 1000
    assert packed < 20
    assert len(data) < 1.35 * sum(graph.constants[n].size for n in graph.constants) + 8 * channels


@pytest.mark.parametrize("group", [2, 4])
def test_grouped_convolutions_run(group: int) -> None:
    constants: dict[str, Array] = {
        "w": floats(1, 8, 3, 3, 3, scale=0.3),
        "v": floats(2, 16, 8 // group, 3, 3, scale=0.3),
    }
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        node("Conv", "a v", "y", group=group, pads=[1, 1, 1, 1], strides=[2, 2]),
    ]
    graph = import_model(
        net(nodes, inputs={"x": [1, 3, 8, 8]}, outputs={"y": [1, 16, 4, 4]}, constants=constants)
    )
    sample: Feeds = feeds("x", 1, 3, 8, 8, count=1)[0]

    found = TfliteRunner(lower_to_tflite(graph)).run(sample)["y"]

    assert found == pytest.approx(OrtModel(serialize(graph)).run(sample)["y"], abs=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "extra"),
    [(2, 2, 0, 0), (3, 2, 1, 1), (4, 2, 1, 0), (3, 1, 1, 0), (5, 3, 2, 2), (3, 2, 0, 1)],
)
def test_transposed_convolutions_mean_what_onnx_says(
    kernel: int, stride: int, pad: int, extra: int
) -> None:
    size = 4 * stride + kernel - 2 * pad + extra
    constants: dict[str, Array] = {
        "w": floats(1, 3, 4, kernel, kernel, scale=0.3),
        "b": floats(2, 4),
    }
    layer = node(
        "ConvTranspose", "x w b", "y", pads=[pad] * 4, strides=[stride] * 2,
        output_padding=[extra] * 2,
    )  # fmt: skip
    graph = import_model(
        net(
            [layer],
            inputs={"x": [1, 3, 5, 5]},
            outputs={"y": [1, 4, size, size]},
            constants=constants,
        )
    )
    samples = feeds("x", 1, 3, 5, 5)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    real, exact = OrtModel(serialize(graph)), Simulation(graph, plan)
    plain, integer = (TfliteRunner(lower_to_tflite(graph, one)) for one in (None, plan))

    for sample in samples:
        assert plain.run(sample)["y"] == pytest.approx(real.run(sample)["y"], abs=1e-5)
        apart = as_floats(integer.run(sample)["y"]) - as_floats(exact.run(sample)["y"])
        assert np.abs(apart).max() <= 1.01 * plan.tensors["y"].scale[0]


def test_every_integer_operator_can_be_written() -> None:
    assert set(integer_operators()) == set(INTEGER_FORMS) <= set(HANDLERS)


@pytest.mark.parametrize("order", [None, [0, 2, 1, 3]], ids=["plain", "transposed"])
def test_dense_layer_behind_an_image_moves_its_columns_instead(order: list[int] | None) -> None:
    constants: dict[str, Array] = {
        "w": floats(1, 4, 3, 3, 3, scale=0.3),
        "v": floats(2, 4 * 5 * 5, 6, scale=0.1),
    }
    nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1])]
    if order is not None:
        nodes.append(node("Transpose", "c", "t", perm=order))
    nodes += [node("Flatten", nodes[-1].output[0], "f"), node("MatMul", "f v", "y")]
    graph = import_model(
        net(nodes, inputs={"x": [1, 3, 5, 5]}, outputs={"y": [1, 6]}, constants=constants)
    )
    samples = feeds("x", 1, 3, 5, 5)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    real, exact = OrtModel(serialize(graph)), Simulation(graph, plan)
    lowered = [lower_to_tflite(graph, one) for one in (None, plan)]
    plain, integer = (TfliteRunner(one) for one in lowered)

    for sample in samples:
        assert plain.run(sample)["y"] == pytest.approx(real.run(sample)["y"], abs=1e-5)
        apart = as_floats(integer.run(sample)["y"]) - as_floats(exact.run(sample)["y"])
        assert np.abs(apart).max() <= 1.01 * plan.tensors["y"].scale[0]
    assert all("TRANSPOSE" not in one.operators for one in lowered)
