"""Targets are data: each file is read, each board leads to one, and outputs follow them."""

import json
from importlib import resources

import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.flags import Flags, other_half
from converters.recipe import CalibrationData, Output, Recipe
from converters.targets import Target, load_target, outputs_of, target_of, targets
from edgeops.contracts.manifest import Task
from edgeops.errors import UsageError


def recipe(**changes: object) -> Recipe:
    stated: dict[str, object] = {
        "model": "m.onnx",
        "name": "m",
        "version": "1.0.0",
        "task": Task(type="regression"),
    }
    return Recipe(**{**stated, **changes})  # type: ignore[arg-type]  # keywords as in YAML


def test_every_file_is_a_target_that_says_what_it_is() -> None:
    files = {file.name for file in (resources.files("converters") / "target_profiles").iterdir()}
    assert {f"{name}.yaml" for name in targets()} == files
    assert set(targets()) >= {
        "cpu-arm64-litert", "cpu-arm64-ort", "cpu-x86-ort", "edgetpu", "mcu-tflm", "npu-per-tensor",
    }  # fmt: skip
    assert all(target.summary and target.notes for target in targets().values())


def test_operator_lists_name_operators_of_the_schema() -> None:
    known = set(vars(schema.BuiltinOperator))
    for target in targets().values():
        assert set(target.operators) <= known, target.name
        assert sorted(target.operators) == list(target.operators), target.name


def test_a_board_leads_to_one_profile() -> None:
    boards = [board for target in targets().values() for board in target.boards]
    assert len(set(boards)) == len(boards)
    assert not set(boards) & set(targets())
    assert load_target("raspberry-pi-4").activations == "int8"
    assert load_target("x86-64").activations == "uint8"
    with pytest.raises(UsageError, match=r"no target 'toaster'; there are .*raspberry-pi-4"):
        load_target("toaster")


def test_a_recipe_lies_over_its_target() -> None:
    assert target_of(recipe(target="mcu-tflm")).io == "int8"
    assert target_of(recipe(target="mcu-tflm", io="float32")).io == "float32"
    assert target_of(recipe(activations="int8")).activations == "int8"
    assert target_of(recipe()) == Target()


@pytest.mark.parametrize(
    ("target", "calibrated", "expected"),
    [
        (None, False, ["onnx-float32"]),
        (None, True, ["onnx-int8", "onnx-float32"]),
        ("raspberry-pi-4", True, ["tflite-int8", "onnx-int8", "tflite-float32", "onnx-float32"]),
        ("cpu-x86-ort", False, ["onnx-float32"]),
        ("mcu-tflm", True, ["tflite-int8"]),
        ("edgetpu", False, ["tflite-int8"]),
    ],
)
def test_what_is_made_follows_target_and_data(
    target: str | None, calibrated: bool, expected: list[str]
) -> None:
    stated = recipe(
        target=target, calibration=CalibrationData(data="c.npz") if calibrated else None
    )
    found = outputs_of(stated, target_of(stated))
    assert [f"{output.runtime}-{output.precision}" for output in found] == expected


INT8 = CalibrationData(data="c.npz")
BOTH = (Output(runtime="tflite", precision="int8"), Output(runtime="onnx", precision="float16"))


@pytest.mark.parametrize(
    ("flags", "stated", "expected"),
    [
        (Flags(to="tflite"), recipe(calibration=INT8), ["tflite-int8", "tflite-float32"]),
        (Flags(to="tflite"), recipe(), ["tflite-float32"]),
        (Flags(to="onnx"), recipe(outputs=BOTH), ["onnx-int8", "onnx-float16"]),
        (Flags(precision="float32"), recipe(outputs=BOTH), ["tflite-float32", "onnx-float32"]),
        (Flags(precision="int8"), recipe(target="mcu-tflm", outputs=BOTH), ["tflite-int8"]),
        (Flags(to="onnx"), recipe(target="npu-per-tensor"), ["onnx-int8"]),
        (Flags(to="onnx", precision="int8"), recipe(), []),
        (Flags(), recipe(), []),
    ],
)
def test_one_flag_takes_the_other_half_from_the_recipe(
    flags: Flags, stated: Recipe, expected: list[str]
) -> None:
    found = other_half(flags, stated)
    pairs = json.loads(found["outputs"]) if found else []
    assert [f"{pair['runtime']}-{pair['precision']}" for pair in pairs] == expected


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Output(runtime="onnx", precision="int8"), "has the runtime tflite, not onnx"),
        (Output(runtime="tflite", precision="float16"), "int8 or int16x8, not in float16"),
    ],
)
def test_a_target_refuses_files_that_it_cannot_run(output: Output, words: str) -> None:
    stated = recipe(target="mcu-tflm", outputs=(output,))
    with pytest.raises(UsageError, match=words):
        outputs_of(stated, target_of(stated))
