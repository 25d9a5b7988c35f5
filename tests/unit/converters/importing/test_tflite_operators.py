"""Every operator that is imported computes what LiteRT computes, on random input."""

from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.arrays import Feeds
from converters.importing.importer import import_model
from converters.importing.tflite import opening
from converters.importing.tflite.catalog import HANDLERS
from converters.importing.tflite.file import FileTensor
from converters.importing.tflite.flat import FlatFile
from converters.importing.tflite.options import OPTIONS, read_options
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.plan import Grid
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.schema import FlatModel, Option
from edgeops.errors import ConversionError, UnsupportedModelError
from tests.unit.converters.importing.tflite_cases import (
    BIAS,
    CASES,
    IMAGE,
    KERNEL,
    convolution,
    ints,
)
from tests.unit.converters.importing.tflite_files import (
    FLOAT32,
    Case,
    difference,
    open_bytes,
)
from tests.unit.converters.nets import conv_net, floats

PAGE = Path(__file__).resolve().parents[4] / "docs/reference/importing.md"
ELSEWHERE = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "DEQUANTIZE"}


@pytest.fixture(autouse=True)
def no_child_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial process has tests of its own; here it would cost a second per case."""
    monkeypatch.setattr(opening, "try_out", lambda _path, _title: None)


@pytest.mark.parametrize("name", sorted(CASES))
def test_operator_is_equal_to_litert(name: str, tmp_path: Path) -> None:
    case = CASES[name]

    origin = open_bytes(case.data(), tmp_path)

    assert difference(origin, case.feeds()) <= 1e-5


def test_page_lists_every_operator() -> None:
    page = " ".join(PAGE.read_text().split())

    assert f"Operators: {', '.join(sorted(HANDLERS))}." in page


def test_every_operator_has_a_case() -> None:
    tested = {case.code for case in CASES.values()}

    assert set(HANDLERS) - tested == ELSEWHERE


@pytest.mark.parametrize("time_major", [False, True])
def test_lstm_is_equal_to_litert(time_major: bool, tmp_path: Path) -> None:
    origin = open_bytes(lstm_file(time_major=time_major), tmp_path)

    samples: list[Feeds] = [
        {"x": floats(seed, 6, 1, 4) if time_major else floats(seed, 1, 6, 4)} for seed in range(3)
    ]
    assert difference(origin, samples) <= 1e-5


def lstm_file(*, time_major: bool) -> bytes:
    """Return a file with one LSTM of 5 cells over 6 steps of 4 numbers."""
    model = FlatModel()
    shape = (6, 1, 4) if time_major else (1, 6, 4)
    x = model.tensor("x", shape, FLOAT32, None)
    weights = [model.constant(f"w{i}", floats(30 + i, 5, 4 if i < 4 else 5)) for i in range(8)]
    gates = [model.constant(f"b{i}", floats(40 + i, 5)) for i in range(4)]
    states = [model.tensor(f"state{i}", (1, 5), FLOAT32, None) for i in range(2)]
    y = model.tensor("y", (*shape[:2], 5), FLOAT32, None)
    inputs = [x, *weights, -1, -1, -1, *gates, -1, -1, *states, -1, -1, -1, -1]
    options: dict[str, Option] = {"fusedActivationFunction": "TANH", "timeMajor": time_major}
    model.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        1,
        inputs,
        [y],
        ("UnidirectionalSequenceLSTMOptions", options),
    )
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model.finish({"x": x}, {"y": y}), 0))
    for state in states:
        file.subgraphs[0].tensors[state].isVariable = True
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_weights_stored_in_half_precision_are_read(tmp_path: Path) -> None:
    graph = import_model(conv_net())
    data = lower_to_tflite(graph, weights="float16").data

    origin = open_bytes(data, tmp_path)

    assert difference(origin, [{"x": floats(5, 1, 9, 9, 3)}]) <= 1e-5


def test_hybrid_is_recognised_and_its_weights_are_the_reference(tmp_path: Path) -> None:
    graph = import_model(conv_net())
    data = lower_to_tflite(graph, weights="dynamic-int8").data

    origin = open_bytes(data, tmp_path)

    assert "hybrid" in origin.notes[0]
    assert difference(origin, [{"x": floats(5, 1, 9, 9, 3)}]) <= 1e-5


def test_quantized_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    model = FlatModel()
    grid = Grid(scale=(0.1,), zero_point=(3,), dtype="int8", axis=None)
    x = model.tensor("x", IMAGE, np.dtype(np.int8), grid)
    y = model.tensor("y", IMAGE, np.dtype(np.int8), grid)
    model.operator("RELU", 2, [x], [y], None)

    with pytest.raises(ConversionError, match="convert the float model it was made from"):
        open_bytes(model.finish({"x": x}, {"y": y}), tmp_path)


def test_all_unsupported_operators_are_listed(tmp_path: Path) -> None:
    case = Case("ATAN2", [IMAGE, IMAGE], [IMAGE])

    with pytest.raises(UnsupportedModelError, match=r"unsupported in all: ATAN2 \(1\)"):
        open_bytes(case.data(), tmp_path)


def test_dilation_written_as_blocks_becomes_one_convolution(tmp_path: Path) -> None:
    model = FlatModel()
    x = model.tensor("x", (1, 8, 8, 4), FLOAT32, None)
    blocked = model.tensor("blocked", (4, 6, 6, 4), FLOAT32, None)
    convolved = model.tensor("convolved", (4, 4, 4, 5), FLOAT32, None)
    y = model.tensor("y", (1, 8, 8, 5), FLOAT32, None)
    block = model.constant("block", ints(2, 2))
    pads = model.constant("pads", ints(2, 2, 2, 2).reshape(2, 2))
    crops = model.constant("crops", ints(0, 0, 0, 0).reshape(2, 2))
    weights = [model.constant("w", KERNEL), model.constant("b", BIAS)]
    model.operator(
        "SPACE_TO_BATCH_ND", 1, [x, block, pads], [blocked], ("SpaceToBatchNDOptions", {})
    )
    model.operator("CONV_2D", 1, [blocked, *weights], [convolved], convolution(padding="VALID"))
    model.operator(
        "BATCH_TO_SPACE_ND", 1, [convolved, block, crops], [y], ("BatchToSpaceNDOptions", {})
    )

    origin = open_bytes(model.finish({"x": x}, {"y": y}), tmp_path)

    assert [n.op for n in import_model(origin.onnx).nodes].count("Conv") == 1
    assert difference(origin, [{"x": floats(5, 1, 8, 8, 4)}]) <= 1e-5


def test_round_trip_of_a_lowered_net_is_equal(tmp_path: Path) -> None:
    graph = import_model(conv_net())

    origin = open_bytes(lower_to_tflite(graph).data, tmp_path)
    again = import_model(origin.onnx)

    sample = floats(5, 1, 3, 9, 9)
    (before,) = OrtModel(serialize(graph)).run({"x": sample}).values()
    (after,) = OrtModel(serialize(again)).run({"x": sample.transpose(0, 2, 3, 1)}).values()
    assert after == pytest.approx(before, abs=1e-6)
    twice = lower_to_tflite(again, image_layout="nhwc")
    assert "TRANSPOSE" not in twice.operators


@pytest.mark.parametrize("code", sorted(OPTIONS))
def test_options_stand_where_the_schema_puts_them(code: str) -> None:
    """Written by the schema's own code, read by ours: another slot would show."""
    table = OPTIONS[code]
    made = getattr(schema, f"{table.name}T")()
    expected: dict[str, float] = {}
    for number, (name, field) in enumerate(sorted(table.fields.items())):
        words = name.split("_")
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        assert hasattr(made, camel), camel
        value = not field.default if field.kind == "bool" else number + 2
        setattr(made, camel, value)
        expected[name] = value
    builder = flatbuffers.Builder(64)
    builder.Finish(made.Pack(builder))

    file = FlatFile(bytes(builder.Output()), "options")

    assert read_options(code, file.table_at(int.from_bytes(file.data[:4], "little"))) == expected


def test_four_bit_weights_are_unpacked_low_half_first() -> None:
    tensor = FileTensor(
        name="w",
        kind="int4",
        shape=(3,),
        open_axes=(),
        data=memoryview(bytes([0x71, 0x0F])),
        quantization=None,
        is_variable=False,
        is_sparse=False,
    )

    value = tensor.value()

    assert value is not None
    assert value.tolist() == [1, 7, -1]
