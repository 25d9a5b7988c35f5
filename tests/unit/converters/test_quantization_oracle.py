"""ONNX Runtime's own quantizer as an oracle: ours is not worse with the same settings."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters.arrays import Feeds
from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from tests.unit.converters.nets import conv_net, feeds

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    quantization = pytest.importorskip("onnxruntime.quantization")


class Reader:
    """Hands samples to the oracle one by one."""

    def __init__(self, samples: list[Feeds]) -> None:
        self._samples: Iterator[Feeds] = iter(samples)

    def get_next(self) -> Feeds | None:
        return next(self._samples, None)


@pytest.mark.parametrize("channels", [8, 32])
def test_noise_is_that_of_the_oracle(channels: int, tmp_path: Path) -> None:
    graph = import_model(conv_net(channels=channels))
    samples = feeds("x", 1, 3, 9, 9, count=16)
    (tmp_path / "float.onnx").write_bytes(serialize(graph))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_static(
            str(tmp_path / "float.onnx"),
            str(tmp_path / "oracle.onnx"),
            Reader(samples),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    reference = OrtModel(serialize(graph))
    expected = [reference.run(sample) for sample in samples]

    def noise(data: bytes) -> float:
        model = OrtModel(data, optimize=False)
        return relative_noise(expected, (model.run(sample) for sample in samples))

    ours, theirs = (
        noise(write_onnx_int8(graph, plan)),
        noise((tmp_path / "oracle.onnx").read_bytes()),
    )

    assert ours <= 1.5 * theirs
