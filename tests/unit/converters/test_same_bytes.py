"""Two processes that hash texts differently write the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

SCRIPT = """
import hashlib
from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from converters.quant.write_weights import write_onnx_dynamic, write_onnx_float16
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.nets import feeds
from tests.unit.converters.nets_cnn import FAMILIES, SIZE

samples = feeds("x", 1, 3, SIZE, SIZE, count=2)
for name in ("mobilenet-v3", "resnet8"):
    graph = import_model(FAMILIES[name]())
    ranges = calibrate(graph, lambda: samples).ranges
    narrow = plan_quantization(graph, ranges, integer_tail=True)
    wide = plan_quantization(graph, ranges, activations="int16")
    files = [serialize(graph), write_onnx_int8(graph, narrow), write_onnx_float16(graph)]
    files += [write_onnx_dynamic(graph)[0], lower_to_tflite(graph, wide).data]
    files += [lower_to_tflite(graph, narrow, io=io).data for io in ("float32", "int8", "uint8")]
    files += [lower_to_tflite(graph, weights=w).data for w in ("float16", "dynamic-int8")]
    print(*(hashlib.sha256(file).hexdigest() for file in files))
"""


def digests(seed: str) -> list[str]:
    """Return the digests of all kinds of files, as one process with hash seed ``seed`` has them."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout.split()


def test_every_kind_of_file_is_the_same_in_another_process() -> None:
    first = digests("0")

    assert len(first) == 20
    assert digests("4711") == first
