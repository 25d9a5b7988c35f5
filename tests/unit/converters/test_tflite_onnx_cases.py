"""ONNX's own operator cases: the lowering is right or refuses, never silently wrong."""

import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx.backend.test.case.node import collect_testcases

from converters.arrays import Array
from converters.importing.importer import import_model
from converters.tflite.catalog import HANDLERS, lower_to_tflite
from edgeops.errors import ConversionError
from tests.unit.converters.tflite_runner import TfliteRunner

ACTIVATIONS = {"Relu", "BatchNormalization", "Dropout"}


def cases() -> Iterator[onnx.backend.test.case.test_case.TestCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        operators = {node.op_type for node in case.model.graph.node}
        known = set(HANDLERS) | ACTIVATIONS
        if operators <= known and case.data_sets and not case.name.endswith("_expanded"):
            yield case


CASES = {case.name: case for case in cases()}


def with_constants(
    case: onnx.backend.test.case.test_case.TestCase,
) -> tuple[bytes, dict[str, Array]]:
    """Return the case's model with all inputs but the first made constants, as exporters do."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs, _ = case.data_sets[0]
    values = {i.name: v for i, v in zip(model.graph.input, inputs, strict=True)}
    first = model.graph.input[0].name
    moving = {first}
    if model.graph.node[0].op_type in {"Add", "Sub", "Mul", "Div", "Min", "Max", "Concat"}:
        moving = set(values)
    for name, value in values.items():
        if name not in moving:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    kept = [i for i in model.graph.input if i.name in moving]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model.SerializeToString(), {n: np.asarray(values[n]) for n in moving}


def outcome(name: str) -> str:
    """Return ``right``, ``refused`` or ``wrong: …``."""
    case = CASES[name]
    _, expected = case.data_sets[0]
    try:
        data, feeds = with_constants(case)
        lowered = lower_to_tflite(import_model(data))
    except ConversionError:
        return "refused"
    found = list(TfliteRunner(lowered).run(feeds).values())
    names = [output.name for output in case.model.graph.output]
    found_by_name = TfliteRunner(lowered).run(feeds)
    for output, want in zip(names, expected, strict=True):
        have = found_by_name[output]
        if have.shape != np.shape(want):
            return f"wrong: shape {have.shape}, expected {np.shape(want)}"
        if not np.allclose(have, want, rtol=1e-3, atol=1e-5, equal_nan=True):
            return f"wrong: off by {np.abs(have - want).max()}"
    assert found
    return "right"


@pytest.mark.parametrize("name", sorted(CASES))
def test_onnx_case_is_right_or_refused(name: str) -> None:
    assert outcome(name) in {"right", "refused"}
