"""Public models and their official data: the figures that conversion must keep."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from converters.outcome import Conversion
from converters.pipeline import Signer, convert
from converters.rebuild import rebuild
from converters.recipe import load_recipe
from edgeops.clock import SystemClock
from edgeops.trust import SigningKey

pytestmark = pytest.mark.realdata

_BOTH = "[{runtime: tflite, precision: int8}, {runtime: onnx, precision: int8}]"


@dataclass(frozen=True, slots=True)
class Case:
    """A model of the folder, its data, and the figure that its float original reaches."""

    model: str
    data: str
    metric: str
    baseline: float
    recipe: str
    max_drop: float = 0.015


CASES = {
    "vww": Case(
        "mlperf_tiny/models_onnx/vww_96_float.onnx",
        "mlperf_tiny/eval/vww01_a.npz",
        "top1",
        0.855,
        """
task: {type: classification, labels: [no-person, person]}
input: {layout: nchw, preprocess: [{scale: 0.00392156862745098}]}
""",
    ),
    "kws": Case(
        "mlperf_tiny/models_onnx/kws_dscnn_float.onnx",
        "mlperf_tiny/eval/kws01_mfcc_a.npz",
        "top1",
        0.9038,
        """
task: {type: keyword, labels: [down, go, left, no, off, on, right, stop, up, yes,
  silence, unknown]}
input: {layout: nchw, preprocess: [{dequantize: {scale: 0.5847029, zero_point: 83}}]}
""",
    ),
    "resnet": Case(
        "mlperf_tiny/models_onnx/resnet8_cifar10_float.onnx",
        "mlperf_tiny/eval/ic01_a.npz",
        "top1",
        0.857,
        """
task: {type: classification, labels: [airplane, automobile, bird, cat, deer, dog, frog,
  horse, ship, truck]}
input: {layout: nchw}
""",
        max_drop=0.025,  # 98 samples: one is a point
    ),
    "toycar": Case(
        "mlperf_tiny/models_onnx/ad01_float.onnx",
        "mlperf_tiny/eval/ad01_a.npz",
        "auc",
        0.901,
        """
task: {type: anomaly, score: mse, aggregate: mean}
input: {preprocess: [{window: {size: 640, step: 128}}]}
""",
    ),
    "mnist": Case(
        "mnist/mnist-8.onnx",
        "mnist/t10k_first5000.npz",
        "top1",
        0.983,
        """
task: {type: classification, labels: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]}
input: {layout: nchw}
""",
    ),
}  # fmt: skip


def run(case: Case, data_dir: Path, folder: Path) -> tuple[Conversion, Path]:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"model: {data_dir / case.model}\nname: real\nversion: 1.0.0\n{case.recipe}"
        f"calibration: {{data: {data_dir / case.data}, samples: 100, seed: 1}}\n"
        f"evaluation: {{data: {data_dir / case.data}, metric: {case.metric}, "
        f"max_drop: {case.max_drop}}}\noutputs: {_BOTH}\n"
    )
    signer = Signer(key=SigningKey.generate(), development=True)
    loaded = load_recipe(recipe, {})
    done = convert(loaded, folder / "out", signer=signer, clock=SystemClock(), say=print)
    return done, recipe


@pytest.mark.parametrize("name", sorted(CASES))
def test_int8_keeps_the_figure_of_the_float_original(
    name: str, data_dir: Path, tmp_path: Path
) -> None:
    case = CASES[name]

    done, _ = run(case, data_dir, tmp_path)

    assert done.verdict == "pass"
    assert done.baseline[case.metric] == pytest.approx(case.baseline, abs=0.003)
    for variant in done.variants:
        assert variant.drop is not None
        assert variant.drop <= case.max_drop
        assert variant.made.quantized_macs == 1.0
        assert variant.size_bytes < 0.5 * (data_dir / case.model).stat().st_size
    assert done.seconds < 60
    assert any("calibrated on" in warning for warning in done.warnings)


def test_conversion_repeats_byte_for_byte(data_dir: Path, tmp_path: Path) -> None:
    done, recipe = run(CASES["vww"], data_dir, tmp_path)

    assert done.bundle is not None
    assert rebuild(load_recipe(recipe, {}), done.bundle, print) == done.digest
