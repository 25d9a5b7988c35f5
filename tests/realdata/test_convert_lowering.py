"""Every public ONNX model of the folder: TFLite files equal to ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Feeds
from converters.calibration import calibrate
from converters.importing.gate import compare
from converters.importing.importer import import_model
from converters.onnx_format import read_model, serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.tflite_runner import TfliteRunner

pytestmark = pytest.mark.realdata

MODELS = {
    "mlperf_tiny/models_onnx/vww_96_float.onnx": 1.0,
    "mlperf_tiny/models_onnx/resnet8_cifar10_float.onnx": 255.0,
    "mlperf_tiny/models_onnx/kws_dscnn_float.onnx": 10.0,
    "mlperf_tiny/models_onnx/ad01_float.onnx": 1.0,
    "classify/mobilenet_v2_0.35_128_flowers.onnx": 1.0,
    "mnist/mnist-8.onnx": 255.0,
    "face/models/version-slim-320.onnx": 1.0,
    "face/models/version-RFB-320.onnx": 1.0,
    "detect/models/yolox_nano.onnx": 255.0,
    "detect/models/FastestDet.onnx": 1.0,
}
"""Model -> largest input value."""


@pytest.mark.parametrize("name", sorted(MODELS))
def test_lowered_model_equals_onnx_runtime(name: str, data_dir: Path) -> None:
    source = read_model(data_dir / name)
    graph = import_model(source)
    random = np.random.default_rng(1)
    samples: list[Feeds] = [
        {i: random.random(graph.shape(i), dtype=np.float32) * np.float32(MODELS[name])}
        for i in graph.inputs
        for _ in range(4)
    ]
    original, hub = OrtModel(source), OrtModel(serialize(graph))

    assert compare(original, hub, samples).relative < 1e-4

    expected = [hub.run(sample) for sample in samples]
    lowered = TfliteRunner(lower_to_tflite(graph))
    assert relative_noise(expected, (lowered.run(sample) for sample in samples)) < 1e-8

    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    integer = OrtModel(write_onnx_int8(graph, plan))
    answers = [integer.run(sample) for sample in samples]
    tflite = TfliteRunner(lower_to_tflite(graph, plan))
    assert plan.quantized_macs == 1.0
    assert relative_noise(answers, (tflite.run(sample) for sample in samples)) < 1e-2
