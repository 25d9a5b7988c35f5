"""Models of every operator set since 7 compute after lifting what they computed before."""

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from converters.arrays import Array
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from edgeops.errors import UnsupportedModelError
from tests.unit.converters.nets import floats, node

IMAGE = (1, 4, 6, 6)
CHANNEL = {f"c{i}": np.abs(floats(i, 4)) for i in range(4)}
ELEMENT = {f"c{i}": np.abs(floats(i, 4, 6, 6)) for i in range(4)}
ENLARGED = {"s": np.array([1, 1, 2, 1.5], np.float32)}
SHRUNK = {"s": np.array([1, 1, 0.5, 0.5], np.float32)}
Nodes = list[onnx.NodeProto]


def old_model(opset: int, nodes: Nodes, constants: dict[str, Array]) -> bytes:
    """Return a file as exporters of that time wrote it: constants are inputs as well."""
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    inputs = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, IMAGE)]
    if old := opset < 9:
        inputs += [
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in tensors
        ]
    outputs = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    graph = onnx.helper.make_graph(nodes, "old", inputs, outputs, tensors)
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=3 if old else 7
    )
    return bytes(model.SerializeToString())


def case(
    name: str, first: int, last: int, nodes: Nodes, constants: dict[str, Array] | None = None
) -> list[object]:
    """Return one parameter for the oldest and the newest operator set of a form."""
    return [
        pytest.param(opset, nodes, constants or {}, id=f"{name}-{opset}")
        for opset in sorted({first, last})
    ]


CASES = [
    *case("upsample-nearest", 7, 8, [node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0])]),
    *case(
        "upsample-linear",
        7,
        8,
        [node("Upsample", "x", "y", mode="linear", scales=[1.0, 1.0, 2.0, 3.0])],
    ),
    *case("upsample-9", 9, 9, [node("Upsample", "x s", "y", mode="linear")], dict(ENLARGED)),
    *case("resize-nearest", 10, 10, [node("Resize", "x s", "y", mode="nearest")], dict(ENLARGED)),
    *case("resize-linear", 10, 10, [node("Resize", "x s", "y", mode="linear")], dict(ENLARGED)),
    *case("resize-shrinks", 10, 10, [node("Resize", "x s", "y", mode="nearest")], dict(SHRUNK)),
    *[
        parameter
        for mode in ("constant", "reflect", "edge")
        for parameter in case(
            f"pad-{mode}",
            7,
            10,
            [node("Pad", "x", "y", mode=mode, pads=[0, 0, 1, 2, 0, 0, 2, 1], value=1.5)],
        )
    ],
    *case("slice", 7, 9, [node("Slice", "x", "y", starts=[1, -3], ends=[3, 100], axes=[2, 3])]),
    *case("clip", 7, 10, [node("Clip", "x", "y", min=-0.5, max=0.7)]),
    *case("dropout", 7, 11, [node("Dropout", "x", "y", ratio=0.3)]),
    *case(
        "norm-per-channel",
        7,
        13,
        [node("BatchNormalization", "x c0 c1 c2 c3", "y", epsilon=0.01)],
        dict(CHANNEL),
    ),
    *case(
        "norm-per-element",
        7,
        8,
        [node("BatchNormalization", "x c0 c1 c2 c3", "y", epsilon=0.01, spatial=0)],
        dict(ELEMENT),
    ),
    *[
        parameter
        for op in ("Softmax", "LogSoftmax")
        for axis in (0, 1, 2)
        for parameter in case(f"{op}-{axis}", 7, 12, [node(op, "x", "y", axis=axis)])
    ],
    *case("sum", 7, 12, [node("ReduceSum", "x", "y", axes=[2, 3], keepdims=0)]),
    *case("squeeze", 7, 12, [node("Squeeze", "x", "y", axes=[0])]),
    *case("unsqueeze", 7, 12, [node("Unsqueeze", "x", "y", axes=[0, 3])]),
    *case("split", 7, 12, [node("Split", "x", "y z", axis=1, split=[1, 3])]),
    *case("topk", 7, 9, [node("TopK", "x", "y z", k=2, axis=1)]),
    *case("pool", 7, 12, [node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1] * 4)]),
]


@pytest.mark.parametrize(("opset", "nodes", "constants"), CASES)
def test_lifted_model_computes_the_same(
    opset: int, nodes: Nodes, constants: dict[str, Array]
) -> None:
    data = old_model(opset, nodes, constants)
    sample = {"x": floats(9, *IMAGE)}

    graph = import_model(data)

    (before,), (after,) = (
        list(OrtModel(file).run(sample, ["y"]).values()) for file in (data, serialize(graph))
    )
    assert graph.opset == 17
    assert after == pytest.approx(before, abs=1e-6)


def test_hardmax_that_flattens_is_refused_by_name() -> None:
    data = old_model(11, [node("Hardmax", "x", "y", name="pick")], {})

    with pytest.raises(UnsupportedModelError, match=r"node 'pick' .*export with operator set 13"):
        import_model(data)


def test_nearest_resize_both_ways_is_refused() -> None:
    constants: dict[str, Array] = {"s": np.array([1, 1, 2, 0.5], np.float32)}
    data = old_model(10, [node("Resize", "x s", "y", name="odd")], constants)

    with pytest.raises(UnsupportedModelError, match="enlarges one axis and shrinks another"):
        import_model(data)
