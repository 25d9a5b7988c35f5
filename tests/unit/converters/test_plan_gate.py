"""A written integer file computes what was planned, or is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.calibration import calibrate
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.plan_gate import compare, require_planned
from converters.quant.plan import QuantPlan, asymmetric_grid
from converters.quant.planner import plan_quantization
from converters.recipe import Output
from converters.variants import VariantFile, write_variant
from edgeops.errors import ConversionError
from tests.unit.converters.nets import feeds
from tests.unit.converters.nets_cnn import FAMILIES, SIZE

SAMPLES = feeds("x", 1, 3, SIZE, SIZE, count=4)
TFLITE = Output(runtime="tflite", precision="int8")
ONNX = Output(runtime="onnx", precision="int8")


@pytest.fixture(scope="module")
def planned() -> tuple[Graph, QuantPlan]:
    graph = import_model(FAMILIES[min(FAMILIES)]())
    return graph, plan_quantization(graph, calibrate(graph, lambda: SAMPLES).ranges)


def written(planned: tuple[Graph, QuantPlan], folder: Path, output: Output) -> VariantFile:
    graph, plan = planned
    return write_variant(folder, graph, output, plan=plan, layout="nchw")


@pytest.mark.parametrize("output", [TFLITE, ONNX], ids=["tflite", "onnx"])
def test_a_file_computes_its_plan(
    planned: tuple[Graph, QuantPlan], tmp_path: Path, output: Output
) -> None:
    graph, plan = planned
    made = written(planned, tmp_path, output)

    match = require_planned(graph, plan, tmp_path / made.file, made, SAMPLES, layout="nchw")

    assert match.samples == len(SAMPLES)
    assert match.noise < 1e-3
    assert match.same_top == 1.0
    assert match.within_step is not None
    assert match.within_step >= 0.99


def test_a_file_of_another_plan_is_refused(
    planned: tuple[Graph, QuantPlan], tmp_path: Path
) -> None:
    graph, plan = planned
    made = written(planned, tmp_path, TFLITE)
    entry = graph.inputs[0]
    other = replace(plan, tensors={**plan.tensors, entry: asymmetric_grid(-0.05, 0.05)})

    with pytest.raises(ConversionError, match="does not compute what was planned"):
        require_planned(graph, other, tmp_path / made.file, made, SAMPLES, layout="nchw")


def test_steps_are_counted_on_the_output_s_grid_and_tops_of_rows_only() -> None:
    grid = asymmetric_grid(0.0, 2.55)  # steps of 0.01
    plan = QuantPlan(
        tensors={"scores": grid}, quantized=frozenset(), islands={}, quantized_macs=1.0
    )
    image = np.zeros((1, 2, 2, 2), np.float32)
    want = {"scores": np.array([[0.5, 0.6, 0.7, 0.8]], np.float32), "image": image + 1}
    have = {"scores": np.array([[0.51, 0.62, 0.85, 0.8]], np.float32), "image": image + 1}

    match = compare([want], [have], plan)

    assert match.within_step == 0.5
    assert match.same_top == 0.0
    assert compare([{"image": image + 1}], [{"image": image + 1}], plan).same_top is None
