"""Classifiers and an autoencoder that others trained, against the accuracy that is known."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeops.contracts.manifest import InputSpec, Task
from edgeops.contracts.preprocess import (
    Dequantize,
    LogMel,
    Mfcc,
    Normalize,
    Resize,
    Step,
    Window,
)
from edgeops.contracts.scalars import Layout, Runtime
from edgeops.inference.arrays import Array
from edgeops.inference.model import Model

pytestmark = pytest.mark.realdata

VWW = Task(type="classification", labels=("no-person", "person"))
KEYWORDS = (
    *("down", "go", "left", "no", "off", "on"),
    *("right", "stop", "up", "yes", "silence", "unknown"),
)


def _expected(data_dir: Path, name: str) -> float:
    return float(json.loads((data_dir / "expected.json").read_text())[name])


def _share_right(model: Model, samples: Array, answers: Array) -> float:
    labels = model.task.labels
    right = [
        model.predict(x).label == labels[int(y)] for x, y in zip(samples, answers, strict=True)
    ]
    return sum(right) / len(right)


@pytest.mark.parametrize(
    ("file", "runtime", "layout", "name"),
    [
        ("models/vww_96_float.tflite", "tflite", "nhwc", "vww01 vww_96_float"),
        ("models/vww_96_int8.tflite", "tflite", "nhwc", "vww01 vww_96_int8"),
        ("models_onnx/vww_96_float.onnx", "onnx", "nchw", "vww_96_float.onnx"),
    ],
)
def test_person_presence_is_as_accurate_as_known(
    data_dir: Path, file: str, runtime: Runtime, layout: Layout, name: str
) -> None:
    folder = data_dir / "mlperf_tiny"
    model = Model.open(
        folder / file,
        runtime,
        task=VWW,
        spec=InputSpec(layout=layout, preprocess=(Step(scale=1 / 255),)),
    )

    with np.load(folder / "eval/vww01_a.npz") as data:
        share = _share_right(model, data["x"], data["y"])

    assert share == pytest.approx(_expected(data_dir, name), abs=0.005)


@pytest.mark.parametrize(
    ("file", "runtime", "layout", "name"),
    [
        ("models/kws_ref_model.tflite", "tflite", "nhwc", "kws01 kws_ref_model"),
        ("models_onnx/kws_dscnn_float.onnx", "onnx", "nchw", "kws01 kws_dscnn_float.onnx"),
    ],
)
def test_keywords_from_stored_features_are_as_accurate_as_known(
    data_dir: Path, file: str, runtime: Runtime, layout: Layout, name: str
) -> None:
    folder = data_dir / "mlperf_tiny"
    with np.load(folder / "eval/kws01_mfcc_a.npz") as data:
        stored = Dequantize(scale=float(data["scale"]), zero_point=int(data["zero_point"]))
        model = Model.open(
            folder / file,
            runtime,
            task=Task(type="keyword", labels=KEYWORDS),
            spec=InputSpec(layout=layout, preprocess=(Step(dequantize=stored),)),
        )

        share = _share_right(model, data["x"], data["y"])

    assert share == pytest.approx(_expected(data_dir, name), abs=0.005)


def test_our_own_cepstral_features_serve_a_model_trained_on_others(data_dir: Path) -> None:
    mel = LogMel(sample_rate_hz=16_000, frame_s=0.03, step_s=0.02, bins=40)
    model = Model.open(
        data_dir / "mlperf_tiny/models/kws_ref_model.tflite",
        "tflite",
        task=Task(type="keyword", labels=KEYWORDS),
        spec=InputSpec(layout="nhwc", preprocess=(Step(mfcc=Mfcc(coefficients=10, mel=mel)),)),
    )

    with np.load(data_dir / "mlperf_tiny/eval/kws01_audio_a.npz") as data:
        # The model's data set brings every clip to its loudest sample.
        clips = data["x"].astype(np.float32)
        clips /= np.abs(clips).max(axis=1, keepdims=True) + 1e-9
        share = _share_right(model, clips, data["y"])

    assert share > 0.85


@pytest.mark.parametrize(
    ("file", "runtime", "name"),
    [
        ("models/ad01_fp32.tflite", "tflite", "ad01 AUC ad01_fp32"),
        ("models/ad01_int8.tflite", "tflite", "ad01 AUC ad01_int8"),
        ("models_onnx/ad01_float.onnx", "onnx", "ad01 AUC ad01_float.onnx"),
    ],
)
def test_machine_sounds_are_told_apart_as_well_as_known(
    data_dir: Path, file: str, runtime: Runtime, name: str
) -> None:
    model = Model.open(
        data_dir / "mlperf_tiny" / file,
        runtime,
        task=Task(type="anomaly", score="mse"),
        spec=InputSpec(preprocess=(Step(window=Window(size=640, step=128)),)),
    )

    with np.load(data_dir / "mlperf_tiny/eval/ad01_a.npz") as data:
        scores = np.array([model.predict(x).score for x in data["x"]])
        odd = data["y"].astype(bool)
    area = np.mean(scores[odd][:, None] > scores[~odd][None, :])

    assert area == pytest.approx(_expected(data_dir, name), abs=0.005)


@pytest.mark.parametrize(
    ("file", "least"),
    [("mobilenet_v1_0.25_224_float.tflite", 0.97), ("mobilenet_v1_0.25_224_quant.tflite", 0.94)],
)
def test_a_burger_is_a_burger(data_dir: Path, file: str, least: float) -> None:
    folder = data_dir / "classify"
    # The list holds a few names twice; labels of a manifest differ from each other.
    names = (folder / "imagenet_labels.txt").read_text().splitlines()
    labels = tuple(f"{index} {name.strip()}" for index, name in enumerate(names))
    steps = (
        Step(resize=Resize(size=(224, 224))),
        Step(normalize=Normalize(mean=(127.5,), std=(127.5,))),
    )
    model = Model.open(
        folder / file,
        "tflite",
        task=Task(type="classification", labels=labels),
        spec=InputSpec(layout="nhwc", preprocess=steps),
    )
    image = cv2.imread(str(folder / "burger.jpg"))
    assert image is not None

    result = model.predict(image, "bgr")

    assert "cheeseburger" in result.label
    assert result.score > least


def test_flowers_are_told_apart(data_dir: Path) -> None:
    folder = data_dir / "classify"
    steps = (
        Step(resize=Resize(size=(128, 128))),
        Step(normalize=Normalize(mean=(127.5,), std=(127.5,))),
    )
    model = Model.open(
        folder / "mobilenet_v2_0.35_128_flowers.onnx",
        "onnx",
        task=Task(
            type="classification", labels=("daisy", "dandelion", "rose", "sunflower", "tulip")
        ),
        spec=InputSpec(layout="nchw", preprocess=steps),
    )

    for flower in ("daisy", "rose", "tulip"):
        image = cv2.imread(str(folder / f"{flower}.jpg"))
        assert image is not None
        assert model.predict(image, "bgr").label == flower
