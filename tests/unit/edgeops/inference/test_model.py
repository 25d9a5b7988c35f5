"""Whole models: pictures of one colour in, its name out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeops import bundle as bundles
from edgeops.bundle import Bundle
from edgeops.contracts.manifest import InputSpec, Task
from edgeops.errors import BadOutputError, InferenceError
from edgeops.inference.model import Model
from edgeops.testing.bundles import make_bundle
from edgeops.testing.models import (
    ANOMALY_INPUT,
    ANOMALY_TASK,
    COLOR_INPUT,
    COLOR_TASK,
    COLORS,
    clipping_autoencoder,
    color_classifier,
    color_frame,
)
from edgeops.testing.tflite_models import color_classifier_tflite
from edgeops.trust import SigningKey, TrustStore


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def colors(folder: Path, key: SigningKey, *, quantized: bool = False) -> Bundle:
    return make_bundle(
        folder / "bundle",
        onnx_path=color_classifier(folder / "colors.onnx"),
        tflite_path=color_classifier_tflite(folder / "colors.tflite", quantized=quantized),
        task=COLOR_TASK,
        input=COLOR_INPUT,
        key=key,
    )


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("variant", [0, 1])
@pytest.mark.parametrize("color", COLORS)
def test_every_variant_names_the_colour(
    tmp_path: Path, key: SigningKey, color: str, variant: int, quantized: bool
) -> None:
    bundle = colors(tmp_path, key, quantized=quantized)
    model = Model.load(bundle, bundle.manifest.variants[variant])

    from_file = model.predict(color_frame(color))
    from_camera = model.predict(color_frame(color)[..., ::-1], "bgr")

    assert from_file.label == color
    assert from_file.score > 0.98
    assert from_camera == from_file


def test_a_test_bundle_is_a_real_one(tmp_path: Path, key: SigningKey) -> None:
    bundle = colors(tmp_path, key)

    assert bundles.verify(bundle, TrustStore(release=[key.public])) == key.public.keyid


def test_the_stages_in_a_row_are_a_prediction(tmp_path: Path, key: SigningKey) -> None:
    bundle = colors(tmp_path, key)
    model = Model.load(bundle, bundle.manifest.variants[0])
    frame = color_frame("green")

    prepared = model.preprocess(frame)
    result = model.decode(prepared, model.infer(prepared))

    assert result == model.predict(frame)


def test_an_autoencoder_tells_strange_from_known(tmp_path: Path, key: SigningKey) -> None:
    bundle = make_bundle(
        tmp_path / "bundle",
        onnx_path=clipping_autoencoder(tmp_path / "a.onnx"),
        task=ANOMALY_TASK,
        input=ANOMALY_INPUT,
        key=key,
    )
    model = Model.load(bundle, bundle.manifest.variants[0])

    assert model.predict(np.full(16, 0.9, dtype=np.float32)).label == "normal"
    strange = model.predict(np.full(16, 3.0, dtype=np.float32))
    assert strange.label == "anomaly"
    assert strange.score == pytest.approx(4.0)


def test_not_a_number_is_no_answer(tmp_path: Path, key: SigningKey) -> None:
    bundle = make_bundle(
        tmp_path / "bundle",
        onnx_path=color_classifier(tmp_path / "c.onnx", nan=True),
        task=COLOR_TASK,
        input=COLOR_INPUT,
        key=key,
        with_golden=False,
    )
    model = Model.load(bundle, bundle.manifest.variants[0])

    with pytest.raises(BadOutputError, match="'output' holds NaN"):
        model.predict(color_frame("red"))


def test_a_file_that_is_not_what_its_manifest_says_is_refused(
    tmp_path: Path, key: SigningKey
) -> None:
    bundle = colors(tmp_path, key)
    variant = bundle.manifest.variants[1]
    (tensor,) = variant.inputs

    larger = replace(variant, inputs=(replace(tensor, shape=(1, 3, 9, 9)),))
    with pytest.raises(InferenceError, match=r"\[1, 3, 8, 8\], its manifest says \[1, 3, 9, 9\]"):
        Model.load(bundle, larger)
    whole = replace(variant, inputs=(replace(tensor, dtype="int8"),))
    with pytest.raises(InferenceError, match="is float32, its manifest says int8"):
        Model.load(bundle, whole)
    double = replace(variant, outputs=variant.outputs * 2)
    with pytest.raises(InferenceError, match="has 1 outputs, its manifest declares 2"):
        Model.load(bundle, double)


def test_a_task_that_does_not_fit_the_file_is_refused(tmp_path: Path) -> None:
    path = color_classifier(tmp_path / "c.onnx")

    with pytest.raises(InferenceError, match="3 classes"):
        Model.open(path, "onnx", task=Task(type="keyword", labels=("a", "b")), spec=InputSpec())
