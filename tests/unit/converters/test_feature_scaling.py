"""Columns in different units are scaled in float, so that int8 keeps all of them."""

import numpy as np

from converters.arrays import Array, Feeds
from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.feature_scaling import SCALED_IN_FLOAT, feature_scaling
from converters.quant.noise import relative_noise
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.nets import floats, net, node
from tests.unit.converters.tflite_runner import TfliteRunner

UNITS = np.asarray([1e-3, 1, 1e3], np.float32)


def scaled_net(offset: Array, scale: Array, shape: tuple[int, ...] = (1, 3)) -> bytes:
    return net(
        [
            node("Sub", "x offset", "centred", name="centre"),
            node("Mul", "centred scale", "scaled", name="scale"),
            node("MatMul", "scaled w", "y", name="layer"),
        ],
        inputs={"x": list(shape)},
        outputs={"y": [*shape[:-1], 4]},
        constants={"offset": offset, "scale": scale, "w": floats(1, 3, 4)},
    )


def test_mixed_units_survive_int8_in_both_files() -> None:
    graph = import_model(scaled_net(UNITS * 5, 1 / UNITS))
    samples: list[Feeds] = [{"x": UNITS * (5 + floats(seed, 1, 3))} for seed in range(32)]
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    reference = OrtModel(serialize(graph))
    expected = [reference.run(sample) for sample in samples]

    assert plan.islands["centre"] == plan.islands["scale"] == SCALED_IN_FLOAT
    assert "layer" in plan.quantized
    for model in (
        OrtModel(write_onnx_int8(graph, plan)),
        TfliteRunner(lower_to_tflite(graph, plan)),
    ):
        assert relative_noise(expected, [model.run(sample) for sample in samples]) < 1e-3


def test_only_columns_of_rows_count() -> None:
    same = np.full(3, 2, np.float32)

    assert not feature_scaling(import_model(scaled_net(same, same)))
    assert not feature_scaling(import_model(scaled_net(UNITS, UNITS, (1, 8, 8, 3))))
    assert feature_scaling(import_model(scaled_net(UNITS, UNITS))) == {"centre", "scale"}
