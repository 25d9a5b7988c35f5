"""Small ONNX nets built in the test that uses them: what is in them is there to be read."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from converters.arrays import Array, Feeds, Floats

Shape = Sequence[int | str]


def net(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    constants: Mapping[str, Array] | None = None,
    opset: int = 17,
) -> bytes:
    """Return an ONNX file; a text in a shape is a symbolic dimension."""
    graph = onnx.helper.make_graph(
        list(nodes),
        "net",
        [_info(name, shape) for name, shape in inputs.items()],
        [_info(name, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8
    )
    return bytes(model.SerializeToString(deterministic=True))


def node(
    op: str, inputs: str, outputs: str, name: str = "", **attributes: object
) -> onnx.NodeProto:
    """Return a node; ``inputs`` and ``outputs`` are names with blanks between."""
    return onnx.helper.make_node(op, inputs.split(), outputs.split(), name=name, **attributes)


def _info(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))


def floats(seed: int, *shape: int, scale: float = 1.0) -> Floats:
    """Return normally distributed numbers, the same for the same seed."""
    numbers = np.random.default_rng(seed).normal(size=shape) * scale
    return numbers.astype(np.float32)


def feeds(name: str, *shape: int, count: int = 8) -> list[Feeds]:
    """Return samples for an input."""
    return [{name: floats(100 + index, *shape)} for index in range(count)]


def conv_net(*, channels: int = 8, size: int = 9, classes: int = 4) -> bytes:
    """Return conv (uneven pads), BatchNorm, ReLU6, depthwise, residual, dense, softmax."""
    constants: dict[str, Array] = {
        "w1": floats(1, channels, 3, 3, 3, scale=0.4),
        "scale": np.abs(floats(2, channels)) + np.float32(0.5),
        "shift": floats(3, channels),
        "mean": floats(4, channels, scale=0.1),
        "variance": np.abs(floats(5, channels)) + np.float32(0.5),
        "zero": np.asarray(0, np.float32),
        "six": np.asarray(6, np.float32),
        "w2": floats(6, channels, 1, 3, 3, scale=0.4),
        "b2": floats(7, channels, scale=0.1),
        "w3": floats(8, channels, classes),
        "b3": floats(9, classes, scale=0.1),
    }
    nodes = [
        node("Conv", "x w1", "c1", strides=[2, 2], pads=[0, 0, 1, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", "c1 scale shift mean variance", "n1"),
        node("Clip", "n1 zero six", "a1"),
        node("Conv", "a1 w2 b2", "c2", group=channels, pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Relu", "c2", "a2"),
        node("Add", "a1 a2", "s"),
        node("GlobalAveragePool", "s", "p"),
        node("Flatten", "p", "f"),
        node("MatMul", "f w3", "m"),
        node("Add", "m b3", "logits"),
        node("Softmax", "logits", "y", axis=1),
    ]
    return net(
        nodes,
        inputs={"x": ["N", 3, size, size]},
        outputs={"y": ["N", classes]},
        constants=constants,
    )
