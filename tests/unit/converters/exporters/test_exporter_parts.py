"""Messages, requests, factories and tidied files: the parts that need no framework."""

import io
from pathlib import Path

import numpy as np
import onnx
import pytest

from converters.exporters import frames
from converters.exporters.__main__ import describe
from converters.exporters.code import make
from converters.exporters.onnx_tidying import append_nodes, rename, tidy
from converters.exporters.request import Request
from edgeops.errors import ConversionError, StorageError, UsageError
from tests.unit.converters.nets import net, node


def test_tensors_come_back_with_any_name() -> None:
    sent = {"file": np.arange(6, dtype=np.float32).reshape(2, 3), "a/b:0": np.array([1, 2])}

    found = frames.unpack(frames.pack(sent))

    assert list(found) == list(sent)
    assert all(np.array_equal(found[name], value) for name, value in sent.items())
    assert found["a/b:0"].dtype == np.int64


def test_messages_follow_each_other() -> None:
    stream = io.BytesIO(frames.encode({"a": 1}, b"one") + frames.encode({}, b"\n\n"))

    assert [frames.receive(stream) for _ in range(3)] == [b"one", b"\n\n", None]


@pytest.mark.parametrize(
    "line", [b"Traceback\n", b"[]\n", b'{"bytes": -1}\n', b'{"bytes": 99999999999}\n', b"\xff\n"]
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ConversionError, match="not readable"):
        frames.parse_header(line)


@pytest.mark.parametrize("payload", [b"", b"PK\x03\x04", frames.pack({"x": np.zeros(3)})[:-30]])
def test_damaged_tensors_are_refused(payload: bytes) -> None:
    with pytest.raises(ConversionError, match="damaged"):
        frames.unpack(payload)


def test_tensors_that_carry_code_are_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, np.asarray(["x"]), np.asarray([print], dtype=object))

    with pytest.raises(ConversionError, match="damaged"):
        frames.unpack(buffer.getvalue())


def test_a_request_survives_the_command_line(tmp_path: Path) -> None:
    request = Request(kind="keras", spec="ä b:c", folder=str(tmp_path), shapes={"x": (1, 2)})

    assert Request.of_json(request.to_json()) == request
    assert request.is_code
    with pytest.raises(StorageError, match="no such file"):
        request.existing_path()


def test_the_one_input_takes_the_users_name_and_its_own_shape(tmp_path: Path) -> None:
    request = Request(kind="sklearn", spec="m", folder=str(tmp_path), shapes={"reading": (1, 4)})

    assert request.single_input(4) == "reading"
    with pytest.raises(UsageError, match="shape 1,5"):
        request.single_input(5)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("gone_module:make", "no module"),
        ("factory_module:gone", "no function"),
        ("factory_module:NUMBER", "no function"),
        ("factory_module", "expected module:factory"),
        ("../factory:make", "expected module:factory"),
    ],
)
def test_a_factory_has_to_exist(tmp_path: Path, spec: str, reason: str) -> None:
    (tmp_path / "factory_module.py").write_text("NUMBER = 3\n")

    with pytest.raises(UsageError, match=reason):
        make(spec, tmp_path)


def test_a_factory_draws_the_same_numbers_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawing.py").write_text(
        "import random\nimport numpy\n"
        "def make():\n    import beside\n"
        "    return beside.HERE, random.random(), numpy.random.random()\n"
    )
    (tmp_path / "beside.py").write_text("HERE = True\n")
    path = ["somewhere"]
    monkeypatch.setattr("sys.path", path)
    monkeypatch.setattr("random.random", lambda: 4)

    first, second = make("drawing:make", tmp_path), make("drawing:make", tmp_path)

    assert first == second
    assert path == ["somewhere"]


def test_a_tidied_file_keeps_what_computes_and_drops_what_tells() -> None:
    model = onnx.load_from_string(
        net([node("Relu", "x", "y")], inputs={"x": [1, 4]}, outputs={"y": [1, 4]})
    )
    plain = tidy(onnx.load_from_string(model.SerializeToString()))
    model.doc_string = model.graph.node[0].doc_string = "/home/someone/net.py:12"
    model.metadata_props.add(key="host", value="here")
    model.graph.node[0].metadata_props.add(key="trace", value="/home/someone")
    model.opset_import.append(onnx.helper.make_opsetid("", model.opset_import[0].version))

    assert tidy(model) == plain


def test_outputs_are_chosen_renamed_and_made() -> None:
    model = onnx.load_from_string(
        net([node("Relu", "x", "y")], inputs={"x": [1, 4]}, outputs={"y": [1, 4]})
    )

    rename(model, {"y": "raw"})
    append_nodes(model, [("Neg", ["raw"], "left"), ("Concat", ["left", "raw"], "both")])

    found = onnx.load_from_string(tidy(model, ["both"]))
    assert [value.name for value in found.graph.output] == ["both"]
    onnx.checker.check_model(found)
    with pytest.raises(ConversionError, match="no output 'y'"):
        tidy(model, ["y"])
    with pytest.raises(ConversionError, match="uses the name 'x'"):
        rename(model, {"both": "x"})


def test_an_error_is_told_by_its_cause() -> None:
    root = RuntimeError("\n no kernel for aten::frobnicate\nlong listing")
    error = ValueError("export failed")
    error.__cause__ = root

    assert describe(error) == {
        "error": "fault",
        "message": "RuntimeError: no kernel for aten::frobnicate",
    }
    assert describe(ModuleNotFoundError("No module named 'torch'", name="torch")) == {
        "error": "missing",
        "module": "torch",
        "message": "No module named 'torch'",
    }
    assert describe(UsageError("no"))["error"] == "usage"
