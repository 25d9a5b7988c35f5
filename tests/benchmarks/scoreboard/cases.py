"""What the scoreboard converts: public models, their data, and what must be reached.

Nothing is calibrated on what is judged. Where a set has no second half by nature, both halves
take turns (``crossed``): calibrated on one, judged on the other, and figures are over all samples.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["label", "auc", "boxes", "agreement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the scoreboard.

    Attributes:
        name: Short, for the command line and the table.
        model: Below the data folder.
        recipe: Task and input as a recipe has them.
        evaluation: Key of ``data.SOURCES``.
        calibration: Likewise; empty for crossed halves of the evaluation data.
        metric: What the budget is about.
        max_drop: The budget given to the tool.
        goal: Least figure of an int8 file; for ``boxes`` the recall.
        lost: Largest loss against the float original, where that is the goal instead.
        precision_goal: Least precision, for ``boxes``.
        reference: An int8 TFLite file of the same model that others made.
        size_goal: Largest int8 TFLite file as a multiple of the reference, or of a pure int8 file.
        seconds_goal: Longest conversion.
        note: What a reader should know of the result.
    """

    name: str
    model: str
    recipe: str
    evaluation: str
    calibration: str = ""
    kind: Kind = "label"
    metric: str = "top1"
    max_drop: float = 0.01
    goal: float = 0.0
    lost: float = 1.0
    precision_goal: float = 0.0
    reference: str = ""
    size_goal: float = 0.0
    seconds_goal: float = 10.0
    note: str = ""

    def floor(self, original: float) -> float:
        """Return the least figure of an int8 file, given the float original's."""
        return max(self.goal, original - self.lost)


def _digits(count: int) -> str:
    return ", ".join(f'"{number}"' for number in range(count))


_CIFAR = """
task: {type: classification, labels: [airplane, automobile, bird, cat, deer, dog, frog, horse,
  ship, truck]}
input: {layout: nchw}
"""

CASES = (
    Case(
        name="vww",
        model="mlperf_tiny/models_onnx/vww_96_float.onnx",
        recipe="""
task: {type: classification, labels: [no-person, person]}
input: {layout: nchw, preprocess: [{resize: {size: [96, 96], interpolation: area}},
  {scale: 0.00392156862745098}]}
""",
        evaluation="vww",
        calibration="photos",
        lost=0.008,
        max_drop=0.008,
        reference="mlperf_tiny/models/vww_96_int8.tflite",
        size_goal=1.10,
    ),
    Case(
        name="kws",
        model="mlperf_tiny/models_onnx/kws_dscnn_float.onnx",
        recipe="""
task: {type: keyword, labels: [down, go, left, no, off, on, right, stop, up, yes, silence,
  unknown]}
input: {layout: nchw, preprocess: [{dequantize: {scale: 0.5847029, zero_point: 83}}]}
""",
        evaluation="kws",
        goal=0.900,
        reference="mlperf_tiny/models/kws_ref_model.tflite",
        size_goal=1.10,
    ),
    Case(
        name="resnet8",
        model="mlperf_tiny/models_onnx/resnet8_cifar10_float.onnx",
        recipe=_CIFAR,
        evaluation="cifar",
        calibration="cifar-train",
        lost=0.02,
        max_drop=0.02,
        reference="mlperf_tiny/models/pretrainedResnet_quant.tflite",
        size_goal=1.05,
    ),
    Case(
        name="resnet8-jpeg",
        model="mlperf_tiny/models_onnx/resnet8_cifar10_float.onnx",
        recipe=_CIFAR,
        evaluation="cifar-jpeg",
        calibration="cifar-train",
        lost=0.007,
        max_drop=0.007,
        reference="mlperf_tiny/models/pretrainedResnet_quant.tflite",
        size_goal=1.05,
    ),
    Case(
        name="toycar",
        model="mlperf_tiny/models_onnx/ad01_float.onnx",
        recipe="""
task: {type: anomaly, score: mse, aggregate: mean}
input: {preprocess: [{window: {size: 640, step: 128}}]}
""",
        evaluation="toycar",
        kind="auc",
        metric="auc",
        goal=0.895,
        reference="mlperf_tiny/models/ad01_int8.tflite",
        size_goal=1.20,
    ),
    Case(
        name="yolox-nano",
        model="detect/models/yolox_nano.onnx",
        recipe="""
task: {type: detection, decoder: yolox, labels: COCO, score_threshold: 0.3}
input: {layout: nchw, preprocess: [{letterbox: {size: [416, 416], pad: 114}}, {color: bgr}]}
""",
        evaluation="photos-odd",
        calibration="photos-even",
        kind="boxes",
        metric="agreement",
        max_drop=0.03,
        goal=0.95,
        precision_goal=0.93,
        size_goal=1.03,
        seconds_goal=60.0,
    ),
    Case(
        name="fastestdet",
        model="detect/models/FastestDet.onnx",
        recipe="""
task: {type: detection, decoder: fastestdet, labels: COCO, score_threshold: 0.5}
input: {layout: nchw, preprocess: [{resize: {size: [352, 352], interpolation: area}},
  {color: bgr}, {scale: 0.00392156862745098}]}
""",
        evaluation="photos-odd",
        calibration="photos-even",
        kind="boxes",
        metric="agreement",
        max_drop=0.03,
        goal=0.95,
        precision_goal=0.93,
        size_goal=1.03,
        seconds_goal=60.0,
        note="a quarter of its boxes score within 0.05 of the threshold, and int8 moves scores by "
        "0.03: no int8 file keeps the boxes, so that float16 takes its place",
    ),
    Case(
        name="ultraface",
        model="face/models/version-slim-320.onnx",
        recipe="""
task: {type: detection, decoder: ultraface, labels: [face], score_threshold: 0.7, nms_iou: 0.3,
  max_objects: 300}
input: {layout: nchw, preprocess: [{resize: {size: [320, 240]}},
  {normalize: {mean: [127], std: [128]}}]}
""",
        evaluation="faces",
        calibration="photos",
        kind="boxes",
        metric="agreement",
        max_drop=0.03,
        goal=0.95,
        precision_goal=0.93,
        size_goal=1.03,
        seconds_goal=60.0,
    ),
    Case(
        name="flowers",
        model="classify/mobilenet_v2_0.35_128_flowers.onnx",
        recipe="""
task: {type: classification, labels: [daisy, dandelion, rose, sunflower, tulip]}
input: {layout: nchw, preprocess: [{resize: {size: [128, 128]}},
  {normalize: {mean: [127.5], std: [127.5]}}]}
""",
        evaluation="flowers",
        calibration="photos",
        lost=0.01,
    ),
    Case(
        name="mnist",
        model="mnist/mnist-8.onnx",
        recipe=f"""
task: {{type: classification, labels: [{_digits(10)}]}}
input: {{layout: nchw}}
""",
        evaluation="mnist",
        lost=0.01,
    ),
    Case(
        name="7-segment",
        model="seg7/7seg_classifier.tflite",
        recipe=f"""
task: {{type: classification, labels: [{_digits(10)}, minus, blank]}}
input: {{layout: nhwc, preprocess: [{{resize: {{size: [96, 96]}}}},
  {{scale: 0.00392156862745098}}]}}
""",
        evaluation="7-segment",
        lost=0.01,
    ),
    Case(
        name="gesture",
        model="gesture/keypoint_classifier.tflite",
        recipe="task: {type: classification, labels: [open, close, pointer]}\n",
        evaluation="gesture",
        lost=0.01,
    ),
)
