"""Layout is data: networks of images reach TFLite without a stray TRANSPOSE."""

import numpy as np
import onnx
import pytest

from converters.arrays import Array
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.layout import NHWC, reshaped
from converters.tflite.run import LiteRtModel
from tests.unit.converters.nets import feeds, floats, net, node


def squeeze_net() -> bytes:
    """Return a MobileNetV3 block: expand, depthwise, squeeze and excite, project, add, head."""
    constants: dict[str, Array] = {
        "w1": floats(1, 16, 8, 1, 1, scale=0.3),
        "w2": floats(2, 16, 1, 5, 5, scale=0.3),
        "w3": floats(3, 4, 16, 1, 1, scale=0.3),
        "w4": floats(4, 16, 4, 1, 1, scale=0.3),
        "w5": floats(5, 8, 16, 1, 1, scale=0.3),
        "w6": floats(6, 8, 10),
        "s": np.asarray([1, 8], np.int64),
    }
    nodes = [
        node("Conv", "x w1", "c1"),
        node("HardSwish", "c1", "h1"),
        node("Conv", "h1 w2", "c2", group=16, pads=[2, 2, 2, 2]),
        node("ReduceMean", "c2", "m", axes=[2, 3]),
        node("Conv", "m w3", "c3"),
        node("Relu", "c3", "r3"),
        node("Conv", "r3 w4", "c4"),
        node("HardSigmoid", "c4", "g", alpha=1 / 6, beta=0.5),
        node("Mul", "c2 g", "e"),
        node("HardSwish", "e", "h2"),
        node("Conv", "h2 w5", "c5"),
        node("Add", "c5 x", "a"),
        node("GlobalAveragePool", "a", "p"),
        node("Reshape", "p s", "f"),
        node("MatMul", "f w6", "y"),
    ]
    return net(nodes, inputs={"x": [1, 8, 8, 8]}, outputs={"y": [1, 10]}, constants=constants)


def pyramid_net() -> bytes:
    """Return two scales, joined after resizing, with NHWC heads as detectors export them."""
    constants: dict[str, Array] = {
        "w1": floats(1, 8, 4, 3, 3, scale=0.3),
        "w2": floats(2, 8, 8, 3, 3, scale=0.3),
        "w3": floats(3, 6, 16, 1, 1, scale=0.3),
        "w4": floats(4, 6, 8, 1, 1, scale=0.3),
        "none": np.zeros(0, np.float32),
        "twice": np.asarray([1, 1, 2, 2], np.float32),
        "rows": np.asarray([1, -1, 6], np.int64),
    }
    nodes = [
        node("Conv", "x w1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "a1"),
        node("Conv", "a1 w2", "c2", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c2", "a2"),
        node("Resize", "a2 none twice", "u", mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric"),
        node("Concat", "u a1", "j", axis=1),
        node("Conv", "j w3", "o1"),
        node("Conv", "a2 w4", "o2"),
        node("Transpose", "o1", "t1", perm=[0, 2, 3, 1]),
        node("Transpose", "o2", "t2", perm=[0, 2, 3, 1]),
        node("Reshape", "t1 rows", "f1"),
        node("Reshape", "t2 rows", "f2"),
        node("Concat", "f1 f2", "f", axis=1),
        node("Sigmoid", "f", "y"),
    ]  # fmt: skip
    return net(
        nodes, inputs={"x": [1, 4, 8, 8]}, outputs={"y": [1, 80, 6]}, constants=constants
    )  # fmt: skip


NETS = {"squeeze and excite": (squeeze_net, 8), "pyramid": (pyramid_net, 4)}


@pytest.mark.parametrize("name", sorted(NETS))
def test_no_stray_transpose(name: str) -> None:
    make, channels = NETS[name]
    graph = import_model(make())

    lowered = lower_to_tflite(graph)

    assert lowered.operators.get("TRANSPOSE", 0) == 0
    reference, found = OrtModel(serialize(graph)), LiteRtModel(lowered)
    for sample in feeds("x", 1, channels, 8, 8, count=2):
        expected = reference.run(sample)["y"]
        assert found.run(sample)["y"] == pytest.approx(expected, abs=1e-5)


def test_merged_image_axes_stay_where_they_are() -> None:
    assert reshaped((1, 8, 4, 5), (1, 8, 20), NHWC) == (0, 2, 1)
    assert reshaped((1, 8, 4, 5), (1, 160), NHWC) is None
    assert reshaped((1, 8, 1, 1), (1, 8), NHWC) == (0, 1)
    assert reshaped((2, 3, 4, 5), (2, 3, 2, 2, 5), NHWC) == (0, 2, 3, 4, 1)
    assert reshaped((4,), (2, 1, 2), (0,)) == (0, 1, 2)


def test_reductions_and_choices_keep_the_layout() -> None:
    """What works per element or over axes follows its input, whatever the order it has."""
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("ReduceMax", "c", "m", axes=[1], keepdims=1),
        node("Less", "c m", "b"),
        node("Where", "b c m", "s"),
        node("LayerNormalization", "s k", "n", axis=2),
        node("Gather", "n i", "g", axis=1),
        node("Conv", "g v", "d"),
        node("ArgMax", "d", "y", axis=1, keepdims=0),
    ]
    constants: dict[str, Array] = {
        "w": floats(1, 4, 3, 3, 3),
        "k": floats(2, 6, 6),
        "i": np.asarray([3, 1], np.int64),
        "v": floats(3, 5, 2, 1, 1),
    }
    data = net(nodes, inputs={"x": [1, 3, 6, 6]}, outputs={"y": [1, 6, 6]}, constants=constants)
    model = onnx.load_from_string(data)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    graph = import_model(model.SerializeToString())

    lowered = lower_to_tflite(graph)

    assert "TRANSPOSE" not in lowered.operators
    sample = feeds("x", 1, 3, 6, 6)[0]
    expected = OrtModel(serialize(graph)).run(sample)["y"]
    assert np.array_equal(LiteRtModel(lowered).run(sample)["y"], expected)
