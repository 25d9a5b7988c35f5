"""Public detectors in int8: the boxes stay where the float original sees them."""

import shutil
from pathlib import Path

import pytest

from converters.outcome import Conversion
from converters.pipeline import Signer, convert
from converters.recipe import load_recipe
from edgeops.clock import SystemClock
from edgeops.trust import SigningKey

pytestmark = pytest.mark.realdata

MAX_DROP = 0.06
"""Of F1 against the float original's boxes: 0.95 of them found, 0.93 of those found right."""

_OUTPUTS = "[{runtime: tflite, precision: int8}, {runtime: onnx, precision: int8}]"


def _copied(files: list[Path], folder: Path) -> Path:
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder / file.name)
    return folder


def _converted(
    model: Path, contract: str, calibration: list[Path], evaluation: list[Path], folder: Path
) -> Conversion:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"model: {model}\nname: real\nversion: 1.0.0\n{contract}"
        f"calibration: {{data: {_copied(calibration, folder / 'calibration')}}}\n"
        f"evaluation: {{data: {_copied(evaluation, folder / 'evaluation')}, "
        f"metric: agreement, max_drop: {MAX_DROP}}}\noutputs: {_OUTPUTS}\n"
    )
    signer = Signer(key=SigningKey.generate(), development=True)
    loaded = load_recipe(recipe, {})
    return convert(loaded, folder / "out", signer=signer, clock=SystemClock(), say=print)


def test_face_detector_needs_no_float_layer(data_dir: Path, tmp_path: Path) -> None:
    contract = """
task: {type: detection, decoder: ultraface, labels: [face], score_threshold: 0.7, nms_iou: 0.3}
input: {layout: nchw, preprocess: [{resize: {size: [320, 240]}},
  {normalize: {mean: [127], std: [128]}}]}
"""
    photos = sorted((data_dir / "detect/images").glob("coco_*.jpg"))[::2]
    faces = [p for p in sorted((data_dir / "face/images").glob("*.jpg")) if p.stem != "25"]

    done = _converted(
        data_dir / "face/models/version-slim-320.onnx", contract, photos, faces, tmp_path
    )

    assert done.verdict == "pass"
    assert [variant.made.output.precision for variant in done.variants] == ["int8", "int8"]
    assert all(variant.made.quantized_macs > 0.99 for variant in done.variants)


def test_detector_that_eight_bit_activations_ruin_keeps_its_boxes_in_half_precision(
    data_dir: Path, tmp_path: Path
) -> None:
    """A quarter of its boxes score within 0.05 of the threshold: int8 moves scores by 0.03."""
    names = (data_dir / "detect/coco_classes.txt").read_text().split("\n")
    labels = ", ".join(f'"{name}"' for name in names if name)
    contract = f"""
task: {{type: detection, decoder: fastestdet, labels: [{labels}], score_threshold: 0.5}}
input: {{layout: nchw, preprocess: [{{resize: {{size: [352, 352], interpolation: area}}}},
  {{color: bgr}}, {{scale: 0.00392156862745098}}]}}
"""
    photos = sorted((data_dir / "detect/images").glob("*.jpg"))

    done = _converted(
        data_dir / "detect/models/FastestDet.onnx", contract, photos[::2], photos[1::2], tmp_path
    )

    assert done.verdict == "fallback"
    tflite = next(v for v in done.variants if v.made.output.runtime == "tflite")
    assert tflite.made.output.precision == "float16"
    assert tflite.drop is not None
    assert tflite.drop <= MAX_DROP
    rounded = [a for a in done.attempts if a.rung.equalized and not a.rung.keep_float]
    assert rounded[0].noise < 0.5 * done.attempts[0].noise


def test_detector_that_default_int8_ruins_keeps_its_boxes_by_few_float_layers(
    data_dir: Path, tmp_path: Path
) -> None:
    names = (data_dir / "detect/coco_classes.txt").read_text().split("\n")
    labels = ", ".join(f'"{name}"' for name in names if name)
    contract = f"""
task: {{type: detection, decoder: yolox, labels: [{labels}], score_threshold: 0.3}}
input: {{layout: nchw, preprocess: [{{letterbox: {{size: [416, 416], pad: 114}}}}, {{color: bgr}}]}}
"""
    photos = sorted((data_dir / "detect/images").glob("*.jpg"))

    done = _converted(
        data_dir / "detect/models/yolox_nano.onnx", contract, photos[::2], photos[1::2], tmp_path
    )

    assert done.verdict == "fallback"
    assert done.attempts[0].drop > 0.3, "the plain rung is no longer ruinous"
    assert [variant.made.output.precision for variant in done.variants] == ["int8", "int8"]
    for variant in done.variants:
        assert variant.drop is not None
        assert variant.drop <= MAX_DROP
        assert variant.made.quantized_macs > 0.7
