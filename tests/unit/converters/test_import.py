"""Import: whatever the exporter wrote, the graph is in one form and computes the same."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
import pytest

from converters.arrays import Array
from converters.graph import Graph
from converters.importing.gate import compare, require_equal
from converters.importing.importer import import_model
from converters.onnx_format import read_model, serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from edgeops.errors import ConversionError, StorageError, UnsupportedModelError
from tests.unit.converters.nets import conv_net, feeds, floats, net, node


def operators(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def assert_same_numbers(data: bytes, graph: Graph, shape: tuple[int, ...]) -> None:
    samples = feeds(graph.inputs[0], *shape)
    result = compare(OrtModel(data), OrtModel(serialize(graph)), samples)
    assert result.relative < 1e-5


def test_batch_norm_bias_and_dense_fold_into_their_layers() -> None:
    data = conv_net()

    graph = import_model(data)

    wanted = ["Conv", "Clip", "Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm"]
    assert operators(graph) == [*wanted, "Softmax"]
    assert_same_numbers(data, graph, (1, 3, 9, 9))


def test_batch_norm_that_nothing_absorbs_becomes_mul_and_add() -> None:
    constants: dict[str, Array] = {
        "s": floats(1, 3), "b": floats(2, 3), "m": floats(3, 3), "v": np.abs(floats(4, 3)),
    }  # fmt: skip
    data = net(
        [node("BatchNormalization", "x s b m v", "y", epsilon=0.1)],
        inputs={"x": [1, 3, 4, 4]},
        outputs={"y": [1, 3, 4, 4]},
        constants=constants,
    )

    graph = import_model(data)

    assert operators(graph) == ["Mul", "Add"]
    assert_same_numbers(data, graph, (1, 3, 4, 4))


def test_zero_pad_moves_into_the_convolution() -> None:
    constants: dict[str, Array] = {
        "w": floats(1, 2, 3, 3, 3), "pads": np.array([0, 0, 0, 1, 0, 0, 2, 1]),
    }  # fmt: skip
    data = net(
        [node("Pad", "x pads", "p"), node("Conv", "p w", "y", strides=[2, 2])],
        inputs={"x": [1, 3, 8, 8]},
        outputs={"y": [1, 2, 4, 4]},
        constants=constants,
    )

    graph = import_model(data)

    assert operators(graph) == ["Conv"]
    assert graph.nodes[0].attributes["pads"] == (0, 1, 2, 1)
    assert_same_numbers(data, graph, (1, 3, 8, 8))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [8, 9])
def test_automatic_pads_become_numbers(auto_pad: str, size: int) -> None:
    data = net(
        [node("Conv", "x w", "y", strides=[2, 2], auto_pad=auto_pad)],
        inputs={"x": [1, 3, size, size]},
        outputs={"y": ["a", "b", "c", "d"]},
        constants={"w": floats(1, 2, 3, 3, 3)},
    )

    graph = import_model(data)

    assert "auto_pad" not in graph.nodes[0].attributes
    assert_same_numbers(data, graph, (1, 3, size, size))


def test_gemm_factors_fold_into_weights() -> None:
    data = net(
        [node("Gemm", "x w b", "y", alpha=0.5, beta=2.0)],
        inputs={"x": [1, 4]},
        outputs={"y": [1, 3]},
        constants={"w": floats(1, 4, 3), "b": floats(2, 3)},
    )

    graph = import_model(data)

    assert graph.nodes[0].attributes == {"transB": 1}
    assert graph.constants[graph.nodes[0].inputs[1]].shape == (3, 4)
    assert_same_numbers(data, graph, (1, 4))


def test_shape_computations_fold_away() -> None:
    constants: dict[str, Array] = {
        "zero": np.array(0), "rest": np.array([-1]), "axes": np.array([0]),
    }  # fmt: skip
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "x target", "r"),
        node("Identity", "r", "i"),
        node("Dropout", "i", "y"),
    ]
    data = net(nodes, inputs={"x": ["N", 2, 3]}, outputs={"y": ["N", 6]}, constants=constants)

    graph = import_model(data)

    assert operators(graph) == ["Reshape"]
    assert graph.outputs == ("y",)
    assert_same_numbers(data, graph, (1, 2, 3))


def test_old_operator_set_is_lifted_above_per_channel() -> None:
    data = net(
        [node("Conv", "x w", "c"), node("Clip", "c", "y", min=0.0, max=6.0)],
        inputs={"x": [1, 3, 4, 4]},
        outputs={"y": [1, 2, 2, 2]},
        constants={"w": floats(1, 2, 3, 3, 3)},
        opset=9,
    )

    graph = import_model(data)

    assert graph.opset == 17
    assert "max" not in graph.nodes[1].attributes
    assert_same_numbers(data, graph, (1, 3, 4, 4))


def test_nodes_without_names_get_different_ones() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("Neg", "a", "b", name="n"),
        node("Abs", "b", "y", name="n"),
    ]
    graph = import_model(net(nodes, inputs={"x": [1, 2]}, outputs={"y": [1, 2]}))

    names = [n.name for n in graph.nodes]

    assert all(names)
    assert len(set(names)) == 3


def test_layers_that_share_weights_get_their_own() -> None:
    data = net(
        [node("Conv", "x w", "a"), node("Conv", "a w", "y")],
        inputs={"x": [1, 3, 8, 8]},
        outputs={"y": [1, 3, 4, 4]},
        constants={"w": floats(1, 3, 3, 3, 3)},
    )

    graph = import_model(data)

    assert graph.nodes[0].inputs[1] != graph.nodes[1].inputs[1]
    assert_same_numbers(data, graph, (1, 3, 8, 8))


def test_same_model_gives_same_bytes() -> None:
    assert serialize(import_model(conv_net())) == serialize(import_model(conv_net()))


def test_open_dimension_is_refused_by_name_and_bound_on_request() -> None:
    data = net(
        [node("Relu", "x", "y")], inputs={"x": ["N", 3, "h", 4]}, outputs={"y": ["N", 3, "h", 4]}
    )

    with pytest.raises(ConversionError, match=r"dimension 2 \(h\) of input 'x'"):
        import_model(data)

    assert import_model(data, shapes={"x": (1, 3, 5, 4)}).shape("y") == (1, 3, 5, 4)


def test_shape_that_contradicts_the_model_is_refused() -> None:
    with pytest.raises(ConversionError, match="the shape given"):
        import_model(conv_net(), shapes={"x": (1, 4, 9, 9)})


def test_quantized_model_is_refused() -> None:
    constants: dict[str, Array] = {"s": np.asarray(0.1, np.float32), "z": np.asarray(0, np.uint8)}
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    data = net(nodes, inputs={"x": [1, 2]}, outputs={"y": [1, 2]}, constants=constants)

    with pytest.raises(ConversionError, match="quantized already"):
        import_model(data)


def test_control_flow_is_refused_by_node() -> None:
    branch = onnx.helper.make_graph(
        [node("Identity", "x", "o")],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, [1])],
    )
    nodes = [node("If", "c", "y", name="choose", then_branch=branch, else_branch=branch)]
    data = net(nodes, inputs={"x": [1]}, outputs={"y": [1]}, constants={"c": np.asarray(True)})

    with pytest.raises(UnsupportedModelError, match="'choose'"):
        import_model(data)


@pytest.mark.parametrize("data", [b"", b"not a model", conv_net()[:200]])
def test_damaged_file_is_one_sentence(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)

    with pytest.raises(ConversionError, match="not an ONNX model"):
        read_model(path)


def test_missing_and_oversized_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        read_model(tmp_path / "none.onnx")

    path = tmp_path / "m.onnx"
    path.write_bytes(conv_net())
    with pytest.raises(ConversionError, match="more than the limit"):
        read_model(path, max_bytes=100)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret"])
def test_external_data_outside_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(conv_net())
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())

    with pytest.raises(ConversionError, match="outside the model's folder"):
        read_model(path)


def test_external_data_inside_the_folder_is_folded_in(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(
        onnx.load_model_from_string(conv_net()),
        str(path),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )

    assert serialize(import_model(read_model(path))) == serialize(import_model(conv_net()))


def test_gate_refuses_a_graph_that_computes_something_else() -> None:
    right = OrtModel(conv_net())
    wrong = OrtModel(
        net(
            [node("ReduceMean", "x", "m", axes=[2, 3], keepdims=0), node("Gemm", "m w", "y")],
            inputs={"x": [1, 3, 9, 9]},
            outputs={"y": [1, 4]},
            constants={"w": floats(1, 3, 4)},
        )
    )

    with pytest.raises(ConversionError, match="differs from the original"):
        require_equal(compare(right, wrong, feeds("x", 1, 3, 9, 9)), 1e-3)


def test_gate_needs_a_sample() -> None:
    model = OrtModel(conv_net())

    with pytest.raises(ConversionError, match="no sample"):
        compare(model, model, [])


@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_end_in_a_sentence_or_a_model(seed: int, tmp_path: Path) -> None:
    whole = conv_net()
    random = np.random.default_rng(seed)
    path = tmp_path / "m.onnx"
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(ConversionError):
            lower_to_tflite(import_model(read_model(path)))
