"""Channel shuffles become a Gather, and nothing else does."""

import numpy as np
import pytest

from converters.arrays import Array
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.run import LiteRtModel
from tests.unit.converters.nets import floats, net, node


def shuffle_net(order: list[int], middle: list[int], *, halves: bool) -> bytes:
    """Return a convolution, a rearrangement of its 8 x 6 x 6 output, and another one."""
    constants: dict[str, Array] = {
        "w": floats(1, 8, 3, 1, 1),
        "v": floats(2, 5, 4 if halves else 8, 1, 1),
        "m": np.asarray(middle, np.int64),
        "b": np.asarray([2, 1, 4, 6, 6] if halves else [1, 8, 6, 6], np.int64),
        "one": np.asarray(1, np.int64),
    }
    nodes = [
        node("Conv", "x w", "c"),
        node("Reshape", "c m", "r"),
        node("Transpose", "r", "t", perm=order),
        node("Reshape", "t b", "s"),
    ]
    nodes += [node("Gather", "s one", "g", axis=0)] if halves else []
    nodes += [node("Conv", f"{'g' if halves else 's'} v", "y")]
    return net(nodes, inputs={"x": [1, 3, 6, 6]}, outputs={"y": [1, 5, 6, 6]}, constants=constants)


SHUFFLES = {
    "five axes": shuffle_net([0, 2, 1, 3, 4], [1, 2, 4, 6, 6], halves=False),
    "three axes and halves": shuffle_net([1, 0, 2], [4, 2, 36], halves=True),
}
OTHERS = {
    "image turned": shuffle_net([0, 1, 3, 2], [1, 8, 6, 6], halves=False),
    "rows mixed": shuffle_net([0, 2, 1, 3], [1, 2, 24, 6], halves=False),
}


@pytest.mark.parametrize("name", [*SHUFFLES, *OTHERS])
def test_rearranged_images_compute_the_same(name: str) -> None:
    data = (SHUFFLES | OTHERS)[name]
    graph = import_model(data)
    sample = {"x": floats(9, 1, 3, 6, 6)}

    expected = OrtModel(data).run(sample)["y"]

    assert OrtModel(serialize(graph)).run(sample)["y"] == pytest.approx(expected, abs=1e-5)
    found = LiteRtModel(lower_to_tflite(graph)).run(sample)["y"]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", SHUFFLES)
def test_a_shuffle_is_one_gather(name: str) -> None:
    graph = import_model(SHUFFLES[name])

    assert [node.op for node in graph.nodes] == ["Conv", "Gather", "Conv"]
    # The one there is gives the output ONNX's axes.
    assert lower_to_tflite(graph).operators["TRANSPOSE"] == 1


@pytest.mark.parametrize("name", OTHERS)
def test_other_rearrangements_are_left_alone(name: str) -> None:
    assert "Gather" not in {node.op for node in import_model(OTHERS[name]).nodes}
