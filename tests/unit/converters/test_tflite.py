"""The TFLite writer: right layouts, lowest versions, aligned data, clear refusals."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.arrays import Array, Feeds
from converters.calibration import calibrate
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.importing.tflite.file import parse_tflite
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite, unsupported
from converters.tflite.layout import NHWC, is_same_order, transposed
from converters.tflite.lowering import TfliteModel
from converters.tflite.windows import Window
from edgeops.errors import UnsupportedModelError
from tests.unit.converters.nets import conv_net, feeds, floats, net, node
from tests.unit.converters.tflite_runner import TfliteRunner


def assert_equal(graph: Graph, lowered: TfliteModel, shape: tuple[int, ...]) -> None:
    reference, found = OrtModel(serialize(graph)), TfliteRunner(lowered)
    for sample in feeds(graph.inputs[0], *shape):
        for name, value in reference.run(sample).items():
            assert found.run(sample)[name] == pytest.approx(value, abs=1e-5, rel=1e-5)


def test_float_net_is_equal_and_has_no_transpose() -> None:
    graph = import_model(conv_net())

    lowered = lower_to_tflite(graph)

    assert_equal(graph, lowered, (1, 3, 9, 9))
    assert lowered.input_layouts == {"x": "nhwc"}
    assert "TRANSPOSE" not in lowered.operators
    assert "RELU6" not in lowered.operators, "the bound of Clip belongs inside the convolution"


def test_cube_shaped_tensors_are_not_confused() -> None:
    """Every axis has size 8: whoever infers layout from shapes gets this wrong."""
    constants: dict[str, Array] = {"w": floats(1, 8, 8, 3, 3), "v": floats(2, 512, 5)}
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("Transpose", "c", "t", perm=[0, 2, 1, 3]),
        node("Flatten", "t", "f"),
        node("MatMul", "f v", "y"),
    ]
    graph = import_model(
        net(nodes, inputs={"x": [1, 8, 8, 8]}, outputs={"y": [1, 5]}, constants=constants)
    )

    assert_equal(graph, lower_to_tflite(graph), (1, 8, 8, 8))


def test_int8_files_of_one_plan_agree_across_runtimes() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", 1, 3, 9, 9)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)

    tflite = TfliteRunner(lower_to_tflite(graph, plan))
    onnx_model = OrtModel(write_onnx_int8(graph, plan))

    expected = [onnx_model.run(sample) for sample in samples]
    assert relative_noise(expected, [tflite.run(sample) for sample in samples]) < 1e-3


def test_int8_pads_with_the_zero_point() -> None:
    """Inputs far from zero and uneven pads: a PAD with stored zeros would be far off."""
    graph = import_model(
        net(
            [node("Conv", "x w", "y", strides=[2, 2], pads=[1, 1, 0, 0])],
            inputs={"x": [1, 3, 8, 8]},
            outputs={"y": [1, 2, 4, 4]},
            constants={"w": floats(1, 2, 3, 3, 3)},
        )
    )
    samples: list[Feeds] = [{"x": floats(i, 1, 3, 8, 8) + np.float32(5)} for i in range(8)]
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    reference, found = OrtModel(serialize(graph)), TfliteRunner(lower_to_tflite(graph, plan))

    expected = [reference.run(sample) for sample in samples]

    assert relative_noise(expected, [found.run(sample) for sample in samples]) < 1e-3
    assert "PAD" in lower_to_tflite(graph, plan).operators


@pytest.mark.parametrize("pads", [[0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [0, 2, 1, 0]])
@pytest.mark.parametrize("size", [7, 8])
def test_explicit_pads_mean_what_they_say(pads: list[int], size: int) -> None:
    graph = import_model(
        net(
            [
                node("Conv", "x w", "c", strides=[2, 2], pads=pads),
                node("MaxPool", "c", "y", kernel_shape=[2, 2], pads=[1, 0, 0, 1]),
            ],
            inputs={"x": [1, 3, size, size]},
            outputs={"y": ["a", "b", "c", "d"]},
            constants={"w": floats(1, 2, 3, 3, 3)},
        )
    )

    assert_equal(graph, lower_to_tflite(graph), (1, 3, size, size))


def test_versions_are_the_lowest_and_biases_have_axis_zero() -> None:
    graph = import_model(conv_net())
    samples = feeds("x", 1, 3, 9, 9)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(lower_to_tflite(graph, plan).data, 0))

    versions = {code.builtinCode: code.version for code in model.operatorCodes}
    assert versions[schema.BuiltinOperator.FULLY_CONNECTED] <= 5
    assert versions[schema.BuiltinOperator.CONV_2D] == 3
    depthwise = [
        t for t in model.subgraphs[0].tensors
        if t.type == schema.TensorType.INT8 and list(t.shape) == [1, 3, 3, 8]
    ]  # fmt: skip
    assert [t.quantization.quantizedDimension for t in depthwise] == [3]
    biases = [
        t
        for t in model.subgraphs[0].tensors
        if t.type == schema.TensorType.INT32 and t.quantization and t.quantization.scale is not None
    ]
    assert len(biases) == 3
    assert all(t.quantization.quantizedDimension == 0 for t in biases)


def test_constants_are_aligned_and_bytes_repeat() -> None:
    graph = import_model(conv_net())
    data = lower_to_tflite(graph).data

    weights = graph.constants[graph.nodes[0].inputs[1]].transpose(0, 2, 3, 1)
    place = data.find(np.ascontiguousarray(weights).tobytes())

    assert place > 0
    assert place % 16 == 0
    assert lower_to_tflite(graph).data == data


@pytest.mark.parametrize("weights", ["float16", "dynamic-int8"])
def test_compressed_weights_are_smaller_and_close(weights: str) -> None:
    graph = import_model(conv_net(channels=32))
    form = "float16" if weights == "float16" else "dynamic-int8"

    lowered = lower_to_tflite(graph, weights=form)  # type: ignore[arg-type] # one of the literals

    reference, found = OrtModel(serialize(graph)), TfliteRunner(lowered)
    samples = feeds("x", 1, 3, 9, 9)
    noise = relative_noise([reference.run(s) for s in samples], (found.run(s) for s in samples))
    assert noise < 1e-3
    assert len(lowered.data) < len(lower_to_tflite(graph).data)
    assert bool(lowered.hybrid_layers) == (weights == "dynamic-int8")


def test_nhwc_models_keep_their_layout() -> None:
    nodes = [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w", "y")]
    graph = import_model(
        net(
            nodes,
            inputs={"x": [1, 6, 5, 3]},
            outputs={"y": [1, 2, 6, 5]},
            constants={"w": floats(1, 2, 3, 1, 1)},
        )
    )

    lowered = lower_to_tflite(graph, image_layout="nhwc")

    assert lowered.input_layouts == {"x": "nhwc"}
    assert lowered.input_shapes == {"x": (1, 6, 5, 3)}
    sample = feeds("x", 1, 6, 5, 3)[0]
    found = TfliteRunner(lowered, layout="nhwc").run(sample)["y"]
    assert found == pytest.approx(OrtModel(serialize(graph)).run(sample)["y"], abs=1e-5)


REFUSED = {
    "unknown operator": ([node("Acosh", "x", "y", name="bad")], {}, "no TFLite form"),
    "remainder with the dividend's sign": (
        [node("Mod", "x d", "y", name="bad", fmod=1)],
        {"d": np.full(1, 2, np.float32)},
        "fmod=1",
    ),
    "resize that crops": (
        [node("Resize", "x r s", "y", name="bad", mode="linear",
              coordinate_transformation_mode="tf_crop_and_resize")],
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        "tf_crop_and_resize",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_is_not_known_is_refused_by_node(case: str) -> None:
    nodes, constants, reason = REFUSED[case]
    graph = import_model(
        net(
            nodes,
            inputs={"x": [1, 4, 5, 5]},
            outputs={"y": ["a", "b", "c", "d"]},
            constants=constants,
        )
    )

    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        lower_to_tflite(graph)

    assert caught.value.node == "bad"


def test_every_node_without_a_form_is_listed() -> None:
    nodes = [
        node("Acosh", "x", "c", name="first"),
        node("Det", "c", "d", name="second"),
        node("Relu", "x", "r", name="fine"),
        node("Acosh", "r", "y", name="third"),
    ]
    graph = import_model(
        net(nodes, inputs={"x": [1, 4, 5, 5]}, outputs={"y": ["a", "b", "c", "d"], "d": ["e", "f"]})
    )

    found = unsupported(graph)

    assert [(error.node, error.operator) for error in found] == [
        ("first", "Acosh"),
        ("second", "Det"),
        ("third", "Acosh"),
    ]
    assert all(error.reason and error.suggestion for error in found)
    assert unsupported(import_model(conv_net())) == ()


def test_layout_arithmetic() -> None:
    assert transposed(NHWC, (0, 2, 3, 1)) == (0, 1, 2, 3)
    assert is_same_order((1, 8, 1, 1), NHWC, (0, 1, 2, 3))
    assert not is_same_order((1, 8, 2, 2), NHWC, (0, 1, 2, 3))


def test_same_padding_puts_the_odd_pixel_at_the_end() -> None:
    def window(before: tuple[int, int], after: tuple[int, int]) -> Window:
        return Window(
            kernel=(3, 3), stride=(2, 2), dilation=(1, 1), pads_before=before, pads_after=after
        )

    assert window((0, 0), (1, 1)).is_same((8, 8))
    assert not window((1, 1), (0, 0)).is_same((8, 8))
    assert window((1, 1), (1, 1)).is_same((7, 7))


def test_every_tensor_has_a_name_of_its_own() -> None:
    nodes = [
        node("HardSwish", "x", "h"),
        node("Conv", "h w", "c"),
        node("Conv", "c w", "d"),
        node("Reshape", "d s", "r"),
        node("Sigmoid", "r", "t"),
        node("Reshape", "t back", "y"),
    ]
    constants: dict[str, Array] = {
        "w": floats(1, 4, 4, 1, 1),
        "s": np.asarray([1, 16], np.int64),
        "back": np.asarray([1, 4, 4], np.int64),
    }
    outputs = {"y": [1, 4, 4], "c": [1, 4, 2, 2]}
    graph = import_model(
        net(nodes, inputs={"x": [1, 4, 2, 2]}, outputs=outputs, constants=constants)
    )
    samples = feeds("x", 1, 4, 2, 2)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)

    for data in (lower_to_tflite(graph).data, lower_to_tflite(graph, plan).data):
        names = [tensor.name for tensor in parse_tflite(data, "net").graphs[0].tensors]
        assert all(names)
        assert len(set(names)) == len(names)
