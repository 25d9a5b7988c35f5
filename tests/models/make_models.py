"""Make the tiny models of this folder, with weights chosen by hand so that tests know the answers.

    python tests/models/make_models.py

``tiny-classifier``  ``input`` [N,3,8,8] RGB 0..1 -> ``output`` [N,3] probabilities that red, green
                     or blue prevails; convolution, batch normalization, pooling, Gemm, Softmax.
``tiny-anomaly``     ``input`` [N,16] -> ``output`` [N,16]; reproduces one turn of a sine of any
                     phase and height exactly, and nothing else.
``tiny-detector-yolox``  ``input`` [1,3,64,64] BGR 0..255 -> ``output`` [1,84,7] raw YOLOX head
                     (strides 8, 16, 32; cx, cy, w, h, objectness, red, blue): finds a red or blue
                     square of 16x16 that fills one cell of stride 16.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8  # the oldest that has this opset: old runtimes read it
FLOAT = TensorProto.FLOAT


def tensor(name: str, values: npt.ArrayLike) -> onnx.TensorProto:
    """Return an initializer; float values become float32, whole numbers int64."""
    array = np.asarray(values)
    kind = np.int64 if array.dtype.kind == "i" else np.float32
    return numpy_helper.from_array(array.astype(kind), name)


def model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto],
    shapes: tuple[Sequence[int | str], Sequence[int | str]],
) -> onnx.ModelProto:
    """Return a checked model with one tensor ``input`` and one ``output``."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", FLOAT, shapes[0])],
        [helper.make_tensor_value_info("output", FLOAT, shapes[1])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    made.ir_version = IR_VERSION
    made.producer_name = "edgeops-tests"
    onnx.checker.check_model(made, full_check=True)
    return made


def classifier() -> onnx.ModelProto:
    """Return the colour classifier.

    Channels 0 to 2 are a blurred colour, channel 3 is brightness; a little noise makes the weights
    of each channel differ, as trained ones do.
    """
    rng = np.random.default_rng(8)
    conv = rng.normal(0.0, 0.004, (4, 3, 3, 3))
    for channel in range(3):
        conv[channel, channel] += 1 / 9
    conv[3] += 1 / 27
    spread = np.array([0.06, 0.09, 0.12, 0.05])
    gemm = rng.normal(0.0, 0.002, (4, 4, 4, 3))
    for channel in range(3):
        gemm[channel, :, :, channel] += 0.35 * math.sqrt(float(spread[channel]))
    nodes = [
        helper.make_node("Conv", ["input", "conv.w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["c", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["b"], "bn"
        ),
        helper.make_node("Relu", ["b"], ["r"], "relu"),
        helper.make_node("AveragePool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "fc.w", "fc.b"], ["logits"], "fc"),
        helper.make_node("Softmax", ["logits"], ["output"], "softmax", axis=1),
    ]
    weights = [
        tensor("conv.w", conv),
        tensor("bn.scale", [1.0, 1.0, 1.0, 0.5]),
        tensor("bn.bias", [0.5, 0.4, 0.35, 0.1]),
        tensor("bn.mean", [0.1, 0.1, 0.1, 0.3]),
        tensor("bn.var", spread),
        tensor("fc.w", gemm.reshape(64, 3)),
        tensor("fc.b", [0.0, 0.0, 0.0]),
    ]
    return model("tiny-classifier", nodes, weights, (["N", 3, 8, 8], ["N", 3]))


def anomaly() -> onnx.ModelProto:
    """Return the autoencoder: two directions, each as a positive and a negative half (Relu)."""
    angle = 2 * math.pi * np.arange(16) / 16
    plane = np.stack([np.cos(angle), np.sin(angle)]) / math.sqrt(8)  # orthonormal rows
    halves = np.concatenate([plane, -plane])
    nodes = [
        helper.make_node("Gemm", ["input", "encode.w", "encode.b"], ["e"], "encode"),
        helper.make_node("Relu", ["e"], ["h"], "relu"),
        helper.make_node("Gemm", ["h", "decode.w", "decode.b"], ["output"], "decode"),
    ]
    weights = [
        tensor("encode.w", halves.T),
        tensor("encode.b", np.zeros(4)),
        tensor("decode.w", halves),
        tensor("decode.b", np.zeros(16)),
    ]
    return model("tiny-anomaly", nodes, weights, (["N", 16], ["N", 16]))


def detector() -> onnx.ModelProto:
    """Return the detector: mean colour of each cell, then one 1x1 convolution as the head.

    A cell's box sits in its middle and is as large as the cell. Objectness asks for
    much red or blue and little green; only stride 16 is allowed to fire.
    """
    nodes: list[onnx.NodeProto] = []
    weights = [tensor("rows", [1, 7, -1])]
    for stride in (8, 16, 32):
        own = f"s{stride}"
        head = np.zeros((7, 3, 1, 1))
        head[5, :, 0, 0] = [-0.08, 0.0, 0.08]  # red: R - B
        head[6, :, 0, 0] = [0.08, 0.0, -0.08]  # blue: B - R
        head[4, :, 0, 0] = [0.05, -0.1, 0.05]
        bias = [0.5, 0.5, 0.0, 0.0, -9.0 if stride == 16 else -30.0, 0.0, 0.0]
        weights += [tensor(f"{own}.w", head), tensor(f"{own}.b", bias)]
        nodes += [
            helper.make_node(
                "AveragePool", ["input"], [f"{own}.mean"], f"{own}.pool",
                kernel_shape=[stride, stride], strides=[stride, stride],
            ),
            helper.make_node("Conv", [f"{own}.mean", f"{own}.w", f"{own}.b"], [f"{own}.raw"], own),
            helper.make_node("Reshape", [f"{own}.raw", "rows"], [f"{own}.rows"], f"{own}.flat"),
        ]  # fmt: skip
    weights += [tensor("split", [4, 3])]
    nodes += [
        helper.make_node("Concat", ["s8.rows", "s16.rows", "s32.rows"], ["all"], "all", axis=2),
        helper.make_node("Split", ["all", "split"], ["box", "logits"], "split", axis=1),
        helper.make_node("Sigmoid", ["logits"], ["scores"], "scores"),
        helper.make_node("Concat", ["box", "scores"], ["columns"], "columns", axis=1),
        helper.make_node("Transpose", ["columns"], ["output"], "transpose", perm=[0, 2, 1]),
    ]
    return model("tiny-detector-yolox", nodes, weights, ([1, 3, 64, 64], [1, 84, 7]))


def main() -> None:
    here = Path(__file__).parent
    for made in (classifier(), anomaly(), detector()):
        onnx.save(made, here / f"{made.graph.name}.onnx")


if __name__ == "__main__":
    main()
