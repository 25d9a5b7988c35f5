"""Resize in all variants: as ONNX Runtime computes it, or refused."""

import itertools

import numpy as np
import pytest

from converters.arrays import Array
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.resampling import Axis, cubic, linear, nearest
from converters.tflite.run import LiteRtModel
from edgeops.errors import UnsupportedModelError
from tests.unit.converters.nets import floats, net, node

WHERE = ["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"]
SIZES = [(4, 5), (14, 10), (3, 9), (1, 1)]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("where", WHERE)
def test_resize_agrees_or_is_refused(mode: str, where: str) -> None:
    sample = {"x": floats(1, 1, 3, 7, 5)}
    compared = 0
    for size, rounding in itertools.product(SIZES, ["floor", "ceil", "round_prefer_floor"]):
        resize = node(
            "Resize", "x n n s", "y", mode=mode, nearest_mode=rounding,
            coordinate_transformation_mode=where,
        )  # fmt: skip
        constants: dict[str, Array] = {
            "n": np.zeros(0, np.float32),
            "s": np.asarray([1, 3, *size], np.int64),
        }
        data = net(
            [resize], inputs={"x": [1, 3, 7, 5]}, outputs={"y": [1, 3, *size]}, constants=constants,
            opset=19,
        )  # fmt: skip
        graph = import_model(data)
        try:
            lowered = lower_to_tflite(graph)
        except UnsupportedModelError:
            continue
        expected = OrtModel(serialize(graph)).run(sample)["y"]
        found = LiteRtModel(lowered).run(sample)["y"]
        assert found == pytest.approx(expected, abs=1e-4), (size, rounding)
        compared += 1
        if mode != "nearest":
            break
    assert compared > 0


def test_weights_of_a_row_sum_to_one() -> None:
    axis = Axis(before=7, after=10, scale=10 / 7)

    for taps in (
        linear(axis, "half_pixel"),
        cubic(axis, "half_pixel", -0.75, exclude_outside=False),
        cubic(axis, "half_pixel", -0.5, exclude_outside=True),
    ):
        assert taps.weights.sum(axis=0) == pytest.approx(np.ones(10), abs=1e-6)
        assert taps.places.min() >= 0
        assert taps.places.max() <= 6


def test_an_element_between_two_is_not_guessed() -> None:
    """Where float32 and float64 disagree, runtimes may as well."""
    hangs = [
        (before, after)
        for before, after in itertools.product(range(1, 40), repeat=2)
        if nearest(Axis(before, after, float(np.float32(after) / np.float32(before))),
                   "asymmetric", "ceil") is None
    ]  # fmt: skip

    assert hangs
    assert (2, 4) not in hangs
