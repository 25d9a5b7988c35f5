"""Real models on real data: every runtime against the simulation, and the reference files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Array, Feeds, Floats, as_floats
from converters.calibration import calibrate
from converters.graph import Graph, prune_unused
from converters.importing.importer import import_model
from converters.onnx_format import read_model, serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.quant.plan import QuantPlan
from converters.quant.planner import plan_quantization
from converters.quant.simulate import Simulation
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.partitions import delegate_partitions
from tests.realdata.test_convert_lowering import MODELS
from tests.unit.converters.old_runtime import OldRuntime, interpreter
from tests.unit.converters.tflite_runner import TfliteRunner

pytestmark = pytest.mark.realdata

CALIBRATION = 50
SAMPLES = 150

Samples = Callable[[Path], Floats]


def _images(name: str, factor: float) -> Samples:
    def load(folder: Path) -> Floats:
        with np.load(folder / name) as data:
            return as_floats(data["x"].transpose(0, 3, 1, 2)) * np.float32(factor)

    return load


def _keywords(folder: Path) -> Floats:
    with np.load(folder / "kws01_mfcc_a.npz") as data:
        real = (as_floats(data["x"]) - float(data["zero_point"])) * float(data["scale"])
        return as_floats(real[:, None])


def _cars(folder: Path) -> Floats:
    with np.load(folder / "ad01_a.npz") as data:
        frames = data["x"].reshape(-1, 200, 128)
    windows = [frames[:, start : start + 5].reshape(-1, 640) for start in range(0, 196, 49)]
    return as_floats(np.stack(windows, axis=1).reshape(-1, 640))


@dataclass(frozen=True, slots=True)
class Case:
    """A model, its data, and the int8 file that its authors published.

    Attributes:
        size: Largest accepted share of the reference file's size.
    """

    model: str
    samples: Samples
    reference: str
    size: float


CASES = {
    "vww": Case("vww_96_float", _images("vww01_a.npz", 1 / 255), "vww_96_int8", 1.10),
    "kws": Case("kws_dscnn_float", _keywords, "kws_ref_model", 1.10),
    "resnet8": Case(
        "resnet8_cifar10_float", _images("ic01_a.npz", 1.0), "pretrainedResnet_quant", 1.05
    ),
    "toycar": Case("ad01_float", _cars, "ad01_int8", 1.20),
}


def prepared(case: Case, data_dir: Path) -> tuple[Graph, QuantPlan, list[Feeds]]:
    """Return graph and plan up to the last integer tensor, and samples to judge on."""
    folder = data_dir / "mlperf_tiny"
    graph = import_model(read_model(folder / "models_onnx" / f"{case.model}.onnx"))
    values = case.samples(folder / "eval")
    feeds: list[Feeds] = [{graph.inputs[0]: value[None]} for value in values]
    ranges = calibrate(graph, lambda: feeds[:CALIBRATION]).ranges
    plan = plan_quantization(graph, ranges)
    last = [node for node in graph.nodes if node.name in plan.quantized][-1]
    cut = prune_unused(replace(graph, outputs=(last.outputs[0],)))
    return cut, plan_quantization(cut, ranges), feeds[-SAMPLES:]


def apart(found: Sequence[Array] | Array, exact: Floats, plan: QuantPlan, output: str) -> Floats:
    """Return the differences in steps of the output's grid."""
    difference = as_floats(np.stack(list(found))) - exact
    return as_floats(np.abs(np.rint(difference / plan.tensors[output].scale[0])))


@pytest.mark.parametrize("name", sorted(CASES))
def test_runtimes_compute_what_the_simulation_says(name: str, data_dir: Path) -> None:
    graph, plan, samples = prepared(CASES[name], data_dir)
    output = graph.outputs[0]
    simulation = Simulation(graph, plan)
    exact = as_floats(np.stack([simulation.run(sample)[output] for sample in samples]))
    runtimes = (
        OrtModel(write_onnx_int8(graph, plan)),
        TfliteRunner(lower_to_tflite(graph, plan)),
    )

    for runtime in runtimes:
        found = as_floats(np.stack([runtime.run(sample)[output] for sample in samples]))
        assert np.mean(apart(found, exact, plan, output) <= 1) >= 0.999
        assert np.mean(found.argmax(axis=-1) == exact.argmax(axis=-1)) >= 0.995


@pytest.mark.parametrize("name", sorted(CASES))
def test_file_is_small_and_one_accelerated_piece(name: str, data_dir: Path) -> None:
    case = CASES[name]
    graph, plan, _ = prepared(case, data_dir)
    data = lower_to_tflite(graph, plan).data
    reference = data_dir / "mlperf_tiny" / "models" / f"{case.reference}.tflite"

    assert len(data) <= case.size * reference.stat().st_size
    assert delegate_partitions(data) == 1


@pytest.mark.parametrize("name", sorted(CASES))
def test_old_runtime_gives_the_same_answers(name: str, data_dir: Path, tmp_path: Path) -> None:
    """It rounds twice per layer: steps differ, decisions hardly do."""
    interpreter()
    graph, plan, samples = prepared(CASES[name], data_dir)
    output = graph.outputs[0]
    simulation = Simulation(graph, plan)
    exact = as_floats(np.stack([simulation.run(sample)[output] for sample in samples]))

    found = OldRuntime(lower_to_tflite(graph, plan), tmp_path).run(samples)[output]

    assert np.mean(apart(found, exact, plan, output)) < 1.5
    if name != "toycar":  # which has no classes
        assert np.mean(found.argmax(axis=-1) == exact.argmax(axis=-1)) >= 0.98


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_runs_in_the_old_runtime(name: str, data_dir: Path, tmp_path: Path) -> None:
    interpreter()
    graph = import_model(read_model(data_dir / name))
    random = np.random.default_rng(1)
    samples: list[Feeds] = [
        {i: random.random(graph.shape(i), dtype=np.float32) * np.float32(MODELS[name])}
        for i in graph.inputs
        for _ in range(2)
    ]
    hub = OrtModel(serialize(graph))
    expected = [hub.run(sample) for sample in samples]
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    simulation = Simulation(graph, plan)
    exact = [simulation.run(sample) for sample in samples]

    for form, wanted, limit in ((None, expected, 1e-8), (plan, exact, 5e-2)):
        found = OldRuntime(lower_to_tflite(graph, form), tmp_path).run(samples)
        rows = [{n: v[index] for n, v in found.items()} for index in range(len(samples))]
        assert relative_noise(wanted, rows) < limit  # YOLOX, all in int8, shows every step
