"""Published float TFLite models import exactly; hybrids are named, quantized ones refused."""

from pathlib import Path

import pytest

from converters.importing.gate import compare
from converters.importing.importer import import_model
from converters.importing.origin import open_origin
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.representative import invented_feeds
from converters.tflite.catalog import lower_to_tflite
from edgeops.errors import ConversionError

FLOAT = [
    "classify/mobilenet_v1_0.25_224_float.tflite",
    "face/models/version-RFB-320_without_postprocessing.tflite",
    "gesture/keypoint_classifier.tflite",
    "mlperf_tiny/models/ad01_fp32.tflite",
    "mlperf_tiny/models/pretrainedResnet.tflite",
    "mlperf_tiny/models/vww_96_float.tflite",
    "tflm/hello_world_float.tflite",
    "tflm/trained_lstm.tflite",
]
HYBRID = ["mlperf_tiny/models/kws_ref_model_float32.tflite", "seg7/7seg_classifier.tflite"]
QUANTIZED = [
    "audio/yamnet_audio_classifier_with_metadata.tflite",
    "detect/models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
    "mlperf_tiny/models/vww_96_int8.tflite",
    "tflm/person_detect.tflite",
]


@pytest.mark.realdata
@pytest.mark.parametrize("name", FLOAT + HYBRID)
def test_published_model_is_equal_to_litert(data_dir: Path, name: str) -> None:
    origin = open_origin(name, data_dir, source_format=None, shapes={})

    graph = import_model(origin.onnx)

    samples = invented_feeds(graph, 3, 0)
    assert compare(origin.reference, OrtModel(serialize(graph)), samples).relative <= 1e-5
    assert "TRANSPOSE" not in lower_to_tflite(graph, image_layout="nhwc").operators
    assert any("hybrid" in note for note in origin.notes) == (name in HYBRID)


@pytest.mark.realdata
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_model_is_refused_with_what_to_do(data_dir: Path, name: str) -> None:
    with pytest.raises(ConversionError, match="is quantized already"):
        open_origin(name, data_dir, source_format=None, shapes={})
