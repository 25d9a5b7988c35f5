"""Gemm in every form: imported to simple operators that compute the same."""

import itertools

import pytest

from converters.arrays import Array, Feeds
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.run import LiteRtModel
from tests.unit.converters.nets import Shape, floats, net, node

CASES = list(itertools.product([0, 1], [0, 1], [(1.0, 1.0), (0.5, 2.0)], ["x", "xw", "xwb"]))


@pytest.mark.parametrize(("turn_a", "turn_b", "factors", "moving"), CASES)
def test_every_gemm_computes_the_same(
    turn_a: int, turn_b: int, factors: tuple[float, float], moving: str
) -> None:
    shapes: dict[str, Shape] = {
        "x": [4, 3] if turn_a else [3, 4],
        "w": [5, 4] if turn_b else [4, 5],
        "b": [3, 5],
    }
    constants: dict[str, Array] = {
        name: floats(index, *(int(size) for size in shape))
        for index, (name, shape) in enumerate(shapes.items())
        if name not in moving
    }
    gemm = node(
        "Gemm", "x w b", "y", name="g", transA=turn_a, transB=turn_b,
        alpha=factors[0], beta=factors[1],
    )  # fmt: skip
    inputs = {name: shape for name, shape in shapes.items() if name in moving}
    data = net([gemm], inputs=inputs, outputs={"y": [3, 5]}, constants=constants)
    sample: Feeds = {n: floats(9, *(int(size) for size in shape)) for n, shape in inputs.items()}

    graph = import_model(data)

    expected = OrtModel(data).run(sample)["y"]
    assert OrtModel(serialize(graph)).run(sample)["y"] == pytest.approx(expected, abs=1e-5)
    found = LiteRtModel(lower_to_tflite(graph)).run(sample)["y"]
    assert found == pytest.approx(expected, abs=1e-5)
    assert "g" in {node.name for node in graph.nodes}
