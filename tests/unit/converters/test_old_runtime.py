"""Every form of file in tflite-runtime 2.14, beside its successor.

Its integer kernels round twice per layer, so that each layer may end one step off and deep
networks a few; what must not happen is a refusal or an answer that is wrong.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from converters.arrays import as_floats
from converters.calibration import calibrate
from converters.graph import prune_unused
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.planner import plan_quantization
from converters.quant.simulate import Simulation
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.nets import feeds, floats, net, node
from tests.unit.converters.nets_cnn import FAMILIES, SIZE
from tests.unit.converters.old_runtime import OldRuntime
from tests.unit.converters.test_simulation import OPERATORS, planned
from tests.unit.converters.test_weights_only import GATES, recurrent

IMAGES = feeds("x", 1, 3, SIZE, SIZE, count=8)


@pytest.mark.parametrize("weights", ["float32", "float16", "dynamic-int8"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_float_files_are_close(
    family: str, weights: Literal["float32", "float16", "dynamic-int8"], tmp_path: Path
) -> None:
    graph = import_model(FAMILIES[family]())
    reference, output = OrtModel(serialize(graph)), graph.outputs[0]

    found = OldRuntime(lower_to_tflite(graph, weights=weights), tmp_path).run(IMAGES)[output]

    real = as_floats(np.stack([reference.run(sample)[output] for sample in IMAGES]))
    share = {"float32": 1e-5, "float16": 5e-3, "dynamic-int8": 0.1}[weights]
    assert np.abs(as_floats(found) - real).max() < share * np.abs(real).max()


@pytest.mark.parametrize("bits", ["int8", "int16"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_integer_files_are_within_a_few_steps(
    family: str, bits: Literal["int8", "int16"], tmp_path: Path
) -> None:
    graph = import_model(FAMILIES[family]())
    ranges = calibrate(graph, lambda: IMAGES).ranges
    plan = plan_quantization(graph, ranges, activations=bits)
    simulation, output = Simulation(graph, plan), graph.outputs[0]

    found = OldRuntime(lower_to_tflite(graph, plan), tmp_path).run(IMAGES)[output]

    exact = as_floats(np.stack([simulation.run(sample)[output] for sample in IMAGES]))
    apart = np.abs(as_floats(found) - exact) / plan.tensors[output].scale[0]
    assert np.mean(apart) < (2 if bits == "int8" else 40)  # int16 has 256 times finer steps
    top = np.argmax(found, axis=-1) == np.argmax(exact, axis=-1)
    assert np.mean(top) >= 7 / 8


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_integer_operator_is_within_a_step(name: str, tmp_path: Path) -> None:
    samples = feeds("x", 1, 3, 6, 6, count=6)
    graph, plan = planned(OPERATORS[name](), samples)
    output = next(one for one in graph.nodes if one.name == "middle").outputs[0]
    cut = prune_unused(replace(graph, outputs=(output,)))
    simulation = Simulation(cut, plan)

    found = OldRuntime(lower_to_tflite(cut, plan), tmp_path).run(samples)[output]

    exact = as_floats(np.stack([simulation.run(sample)[output] for sample in samples]))
    apart = np.abs(np.rint((as_floats(found) - exact) / plan.tensors[output].scale[0]))
    assert np.mean(apart <= 1) > 0.98
    assert apart.max() <= 8  # steep functions make several steps of one


def test_one_slope_for_all_channels(tmp_path: Path) -> None:
    """XNNPACK of that time reads a slope per channel, however few there are."""
    constants = {"w": floats(1, 8, 3, 1, 1), "s": np.asarray([0.25], np.float32)}
    nodes = [node("Conv", "x w", "c"), node("PRelu", "c s", "y")]
    data = net(nodes, inputs={"x": [1, 3, 6, 6]}, outputs={"y": [1, 8, 6, 6]}, constants=constants)
    samples = feeds("x", 1, 3, 6, 6, count=2)

    found = OldRuntime(lower_to_tflite(import_model(data)), tmp_path).run(samples)["y"]

    real = np.stack([OrtModel(data).run(sample)["y"] for sample in samples])
    assert found == pytest.approx(real, abs=1e-5)


@pytest.mark.parametrize("weights", ["float32", "float16", "dynamic-int8"])
@pytest.mark.parametrize("op", sorted(GATES))
def test_recurrent_files_are_close(
    op: str, weights: Literal["float32", "float16", "dynamic-int8"], tmp_path: Path
) -> None:
    graph = recurrent(op)
    samples = feeds("x", *graph.shape("x"), count=4)
    reference = OrtModel(serialize(graph))

    found = OldRuntime(lower_to_tflite(graph, weights=weights), tmp_path).run(samples)["y"]

    real = as_floats(np.stack([reference.run(sample)["y"] for sample in samples]))
    share = {"float32": 1e-5, "float16": 5e-3, "dynamic-int8": 0.05}[weights]
    assert np.abs(as_floats(found) - real).max() < share * np.abs(real).max()
