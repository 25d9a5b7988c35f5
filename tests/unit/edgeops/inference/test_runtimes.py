"""Model files and runtimes that are damaged, missing or not what they should be."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeops.contracts.scalars import Runtime
from edgeops.errors import InferenceError
from edgeops.inference.runtimes.loading import available_runtimes, open_model, runtime_of
from edgeops.testing.models import color_classifier
from edgeops.testing.tflite_models import color_classifier_tflite

RUNTIMES: tuple[Runtime, ...] = ("onnx", "tflite")


def write(folder: Path, runtime: Runtime) -> Path:
    if runtime == "onnx":
        return color_classifier(folder / "model.onnx")
    return color_classifier_tflite(folder / "model.tflite")


def python(code: str, **environment: str) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout.strip()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_tells_its_tensors_and_runs(tmp_path: Path, runtime: Runtime) -> None:
    model = open_model(write(tmp_path, runtime), runtime)

    (tensor,) = model.inputs
    assert tensor.shape == ((1, 3, 8, 8) if runtime == "onnx" else (1, 8, 8, 3))
    assert tensor.dtype == "float32"
    (output,) = model.run([np.zeros(tensor.shape, dtype=np.float32)])
    assert output == pytest.approx(np.full((1, 3), 1 / 3))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_outputs_belong_to_the_caller(tmp_path: Path, runtime: Runtime) -> None:
    model = open_model(write(tmp_path, runtime), runtime)
    shape = model.inputs[0].shape

    (first,) = model.run([np.zeros(shape, dtype=np.float32)])
    before = first.copy()
    model.run([np.random.default_rng(0).random(shape, dtype=np.float32)])

    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("keep", [0, 4, 100, -20])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, runtime: Runtime, keep: int) -> None:
    path = write(tmp_path, runtime)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(InferenceError, match=f"cannot load the model {path.name}") as caught:
        open_model(path, runtime)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_missing_file_is_one_sentence(tmp_path: Path, runtime: Runtime) -> None:
    with pytest.raises(InferenceError, match="no such file"):
        open_model(tmp_path / "absent", runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_tensor_of_another_shape_or_type_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    model = open_model(write(tmp_path, runtime), runtime)
    shape = model.inputs[0].shape

    with pytest.raises(InferenceError, match=r"model\.\w+ cannot run"):
        model.run([np.zeros((*shape[:-1], 5), dtype=np.float32)])
    with pytest.raises(InferenceError, match=r"model\.\w+ cannot run"):
        model.run([np.zeros(shape, dtype=np.int8)])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_closed_model_says_so(tmp_path: Path, runtime: Runtime) -> None:
    model = open_model(write(tmp_path, runtime), runtime)
    model.close()

    with pytest.raises(InferenceError, match="is closed"):
        model.run([np.zeros(model.inputs[0].shape, dtype=np.float32)])


def identity(path: Path, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, path)
    return path


def test_only_the_batch_axis_may_be_symbolic(tmp_path: Path) -> None:
    batch = open_model(identity(tmp_path / "a.onnx", ["N", 4]), "onnx")
    assert batch.inputs[0].shape == (1, 4)

    with pytest.raises(InferenceError, match="leaves axis 1 open"):
        open_model(identity(tmp_path / "b.onnx", [1, "width"]), "onnx")


def test_a_type_that_we_do_not_feed_is_refused(tmp_path: Path) -> None:
    path = identity(tmp_path / "a.onnx", [1, 4], TensorProto.STRING)

    with pytest.raises(InferenceError, match="string"):
        open_model(path, "onnx")


def test_a_file_s_suffix_tells_its_runtime() -> None:
    assert runtime_of(Path("a/b.ONNX")) == "onnx"
    assert runtime_of(Path("b.tflite")) == "tflite"
    with pytest.raises(InferenceError, match="neither"):
        runtime_of(Path("b.pt"))


def test_both_runtimes_are_found_without_importing_them() -> None:
    code = (
        "import sys; from edgeops.inference.runtimes.loading import available_runtimes;"
        "print(*available_runtimes());"
        "print({'onnxruntime', 'ai_edge_litert', 'tflite_runtime', 'cv2'} & set(sys.modules))"
    )

    assert python(code).splitlines() == ["tflite onnx", "set()"]


def test_a_missing_runtime_is_named(tmp_path: Path) -> None:
    code = f"""
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in {{"onnxruntime"}} else real(name)
from pathlib import Path
from edgeops.errors import InferenceError
from edgeops.inference.runtimes.loading import open_model
try:
    open_model(Path({str(color_classifier(tmp_path / "m.onnx"))!r}), "onnx")
except InferenceError as error:
    print(error)
"""
    assert python(code) == "m.onnx needs the runtime onnx: install onnxruntime"


def test_the_environment_chooses_the_tflite_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEOPS_TFLITE", "tensorflow")
    with pytest.raises(InferenceError, match="EDGEOPS_TFLITE is 'tensorflow'"):
        available_runtimes()

    monkeypatch.setenv("EDGEOPS_TFLITE", "ai_edge_litert")
    assert "tflite" in available_runtimes()


@pytest.mark.parametrize("before", ["", "0"])
def test_onnx_runtime_never_phones_home(before: str) -> None:
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import edgeops.inference.runtimes.onnx\n"
    )

    assert python(code, ORT_DISABLE_TELEMETRY=before) == "1"


def test_sensor_models_never_load_opencv(tmp_path: Path) -> None:
    path = identity(tmp_path / "a.onnx", [1, 8])
    code = f"""
import sys
from pathlib import Path
import numpy as np
from edgeops.contracts.manifest import InputSpec, Task
from edgeops.contracts.preprocess import Spectrum, Step, Window
from edgeops.inference.model import Model
steps = (Step(window=Window(size=32, step=16)), Step(spectrum=Spectrum(bins=8)))
task = Task(type="anomaly", score="mse")
model = Model.open(Path({str(path)!r}), "onnx", task=task, spec=InputSpec(preprocess=steps))
print(model.predict(np.ones(64, np.float32)).score, "cv2" in sys.modules)
"""

    assert python(code) == "0.0 False"
