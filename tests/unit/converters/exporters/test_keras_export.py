"""Keras files and SavedModels: NHWC to the hub, TFLite and int8; code in files refused."""
# ruff: noqa: E402 - what follows the skips needs the libraries

import json
import zipfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the extra keras")
pytest.importorskip("tf2onnx", reason="needs the extra keras")
keras = pytest.importorskip("keras", reason="needs the extra keras")

from converters.arrays import Feeds
from converters.calibration import calibrate
from converters.exporters.keras_model import export_keras, export_savedmodel
from converters.exporters.request import Request
from converters.importing.gate import compare
from converters.importing.importer import import_model
from converters.importing.origin import Origin, open_origin
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite
from edgeops.errors import ConversionError, StorageError, UsageError
from tests.unit.converters.tflite_runner import TfliteRunner

# TensorFlow and tf2onnx warn of NumPy's plans; none of it is for their user.
pytestmark = pytest.mark.filterwarnings("ignore")

KerasModel: TypeAlias = Any  # Keras has no types

SHAPE = (1, 16, 16, 3)


def network() -> KerasModel:
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(6)(x)
    y = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.Add()([x, keras.layers.Conv2D(8, 1)(y)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(image, keras.layers.Dense(4, activation="softmax", name="classes")(x))


def samples(name: str, count: int = 6) -> list[Feeds]:
    random = np.random.default_rng(0)
    return [{name: random.normal(size=SHAPE).astype(np.float32)} for _ in range(count)]


def request(folder: Path, spec: str, **shapes: tuple[int, ...]) -> Request:
    return Request(kind="keras", spec=spec, folder=str(folder), shapes=shapes)


def saved(folder: Path, form: str) -> Origin:
    model = network()
    if form == "savedmodel":
        model.export(folder / "served", verbose=False)
        return open_origin("served", folder, source_format=None, shapes={})
    model.save(folder / f"m.{form}")
    return open_origin(f"m.{form}", folder, source_format="keras", shapes={})


@pytest.mark.parametrize("form", ["keras", "h5", "savedmodel"])
def test_a_network_goes_the_whole_way_to_int8(tmp_path: Path, form: str) -> None:
    origin = saved(tmp_path, form)
    graph = import_model(origin.onnx)
    (name,) = graph.inputs
    model = OrtModel(serialize(graph))

    assert graph.shape(name) == SHAPE
    assert compare(origin.reference, model, samples(name)).relative < 1e-5

    expected = [model.run(feeds) for feeds in samples(name)]
    lowered = lower_to_tflite(graph, image_layout="nhwc")
    assert "TRANSPOSE" not in lowered.operators
    plain = TfliteRunner(lowered, "nhwc")
    assert relative_noise(expected, [plain.run(feeds) for feeds in samples(name)]) < 1e-9
    plan = plan_quantization(graph, calibrate(graph, lambda: samples(name)).ranges)
    small = TfliteRunner(lower_to_tflite(graph, plan, image_layout="nhwc"), "nhwc")
    int8 = OrtModel(write_onnx_int8(graph, plan))
    for quantized in (small, int8):
        noise = relative_noise(expected, [quantized.run(feeds) for feeds in samples(name)])
        assert noise < 0.01


def test_names_are_the_models_or_the_users(tmp_path: Path) -> None:
    network().save(tmp_path / "m.keras")

    for shapes, name in (({}, "image"), ({"pixels": SHAPE}, "pixels")):
        exported = export_keras(request(tmp_path, "m.keras", **shapes))
        model = OrtModel(exported.onnx)
        assert (model.inputs, model.outputs) == ((name,), ("classes",))


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    first = saved(tmp_path, "keras")

    second = open_origin("m.keras", tmp_path, source_format=None, shapes={})

    assert first.onnx == second.onnx
    assert str(tmp_path).encode() not in first.onnx


def test_open_dimensions_are_bound_by_the_user(tmp_path: Path) -> None:
    image = keras.Input((None, None, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    keras.Model(image, pooled).save(tmp_path / "m.keras")

    with pytest.raises(UsageError, match="give all dimensions, such as --shape image=1,32,32,3"):
        export_keras(request(tmp_path, "m.keras"))
    with pytest.raises(UsageError, match="no input is called"):
        export_keras(request(tmp_path, "m.keras", image=SHAPE, other=SHAPE))
    exported = export_keras(request(tmp_path, "m.keras", image=SHAPE))
    assert import_model(exported.onnx).shape("image") == SHAPE


def test_a_factory_may_make_the_model(tmp_path: Path) -> None:
    (tmp_path / "keras_nets_of_test.py").write_text(
        "import keras\n"
        "def make():\n"
        "    return keras.Sequential([keras.Input((3,), name='x'), keras.layers.Dense(2)])\n"
        "def open_ended():\n    return keras.Sequential([keras.layers.Dense(2)])\n"
        "def none():\n    return 3\n"
    )

    exported = export_keras(request(tmp_path, "keras_nets_of_test:make"))
    row = {"keras_tensor": np.ones((1, 3), np.float32)}
    name = OrtModel(exported.onnx).inputs[0]
    (wanted,) = exported.run({name: row["keras_tensor"]}).values()
    assert wanted.shape == (1, 2)
    with pytest.raises(UsageError, match=r"starts with keras\.Input"):
        export_keras(request(tmp_path, "keras_nets_of_test:open_ended"))
    with pytest.raises(UsageError, match=r"expected a keras\.Model"):
        export_keras(request(tmp_path, "keras_nets_of_test:none"))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_with_code_is_refused_before_it_is_built(tmp_path: Path, suffix: str) -> None:
    image = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)])
    keras.Model(image, inner(image)).save(tmp_path / f"m.{suffix}")

    with pytest.raises(ConversionError, match="Lambda layer, which carries code"):
        export_keras(request(tmp_path, f"m.{suffix}"))


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + b"\0" * 64])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ConversionError, match="no Keras model, or damaged"):
        export_keras(request(tmp_path, name))


def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Gone", "config": {}}))

    with pytest.raises(ConversionError, match="keras cannot load or export the model"):
        open_origin("m.keras", tmp_path, source_format=None, shapes={})


def test_a_saved_model_needs_a_signature(tmp_path: Path) -> None:
    import tensorflow as tf  # noqa: PLC0415 - heavy

    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))

    with pytest.raises(ConversionError, match="no signature 'serving_default'"):
        export_savedmodel(request(tmp_path, "empty"))
    with pytest.raises(StorageError, match="no such file"):
        export_savedmodel(request(tmp_path, "gone"))
