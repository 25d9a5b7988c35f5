"""Focus stems become convolutions with larger kernels, and nothing else does."""

import numpy as np
import pytest

from converters.arrays import Array
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.partitions import delegate_partitions
from tests.unit.converters.nets import feeds, floats, net, node

SIZE = 12


def focus(
    *, step: int = 2, begins: tuple[tuple[int, int], ...] = ((0, 0), (1, 0), (0, 1), (1, 1)),
    end: int = 2**31, kernel: int = 3, stride: int = 1,
) -> bytes:  # fmt: skip
    """Return slices of the rows, then of the columns, a Concat and a convolution."""
    constants: dict[str, Array] = {
        "axis_h": np.array([2]),
        "axis_w": np.array([3]),
        "step": np.array([step]),
        "end": np.array([end]),
        "w": floats(1, 5, 3 * len(begins), kernel, kernel, scale=0.2),
        "b": floats(2, 5),
    }
    nodes = []
    for number, (row, column) in enumerate(begins):
        constants |= {f"row{number}": np.array([row]), f"column{number}": np.array([column])}
        nodes.append(node("Slice", f"x row{number} end axis_h step", f"h{number}"))
        nodes.append(node("Slice", f"h{number} column{number} end axis_w step", f"p{number}"))
    parts = " ".join(f"p{number}" for number in range(len(begins)))
    pads = [kernel // 2] * 4
    nodes += [
        node("Concat", parts, "c", axis=1),
        node("Conv", "c w b", "y", pads=pads, strides=[stride] * 2),
    ]
    return net(
        nodes,
        inputs={"x": [1, 3, SIZE, SIZE]},
        outputs={"y": ["a", "b", "c", "d"]},
        constants=constants,
    )


@pytest.mark.parametrize(
    "data",
    [
        focus(),
        focus(stride=2),
        focus(kernel=1),
        focus(step=3, begins=((0, 0), (2, 1), (1, 2))),
        focus(begins=((1, 1), (0, 0))),
    ],
)
def test_focus_is_one_convolution(data: bytes) -> None:
    graph = import_model(data)
    before, after = OrtModel(data), OrtModel(serialize(graph))

    assert [one.op for one in graph.nodes] == ["Conv"]
    for sample in feeds("x", 1, 3, SIZE, SIZE):
        assert after.run(sample)["y"] == pytest.approx(before.run(sample)["y"], abs=1e-5)


def test_parts_that_leave_the_end_out_stay() -> None:
    data = focus(end=SIZE - 2)
    graph = import_model(data)
    before, after = OrtModel(data), OrtModel(serialize(graph))

    assert "Concat" in [one.op for one in graph.nodes]
    sample = feeds("x", 1, 3, SIZE, SIZE)[0]
    assert after.run(sample)["y"] == pytest.approx(before.run(sample)["y"], abs=1e-5)


def test_doubled_images_do_not_split_the_accelerated_graph() -> None:
    constants: dict[str, Array] = {
        "w": floats(1, 8, 3, 3, 3, scale=0.3),
        "v": floats(2, 4, 8, 3, 3, scale=0.3),
        "roi": np.array([], np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    nodes = [
        node("Conv", "x w", "a", pads=[1] * 4),
        node(
            "Resize", "a roi scales", "r", coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        node("Conv", "r v", "y", pads=[1] * 4),
    ]  # fmt: skip
    graph = import_model(
        net(nodes, inputs={"x": [1, 3, 8, 8]}, outputs={"y": [1, 4, 16, 16]}, constants=constants)
    )

    lowered = lower_to_tflite(graph)

    assert lowered.operators["DEPTH_TO_SPACE"] == 1
    assert delegate_partitions(lowered.data) == 1
