"""What ONNX files may ask for beyond themselves: functions without end, other files."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import pytest

from converters.arrays import Array, Feeds
from converters.doctor.examination import examine
from converters.importing.importer import import_model
from converters.importing.origin import open_origin
from converters.onnx_format import read_model, serialize
from converters.onnx_untrusted import check_external, external_tensors
from converters.ort import OrtModel
from edgeops.errors import ConversionError, StorageError
from tests.unit.converters.nets import net, node


def calls(bodies: dict[str, list[str]]) -> bytes:
    """Return a model that calls ``F0``; each function calls what ``bodies`` says, in a chain."""
    mine, core = onnx.helper.make_opsetid("mine", 1), onnx.helper.make_opsetid("", 17)
    functions = []
    for name, callees in bodies.items():
        names = ["a", *(f"t{i}" for i in range(1, len(callees))), "b"]
        body = [
            onnx.helper.make_node(
                op, [names[i]], [names[i + 1]], domain="" if op == "Relu" else "mine"
            )
            for i, op in enumerate(callees)
        ]
        functions.append(onnx.helper.make_function("mine", name, ["a"], ["b"], body, [core, mine]))
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    call = onnx.helper.make_node("F0", ["x"], ["y"], domain="mine")
    graph = onnx.helper.make_graph([call], "g", value[:1], value[1:])
    model = onnx.helper.make_model(
        graph, functions=functions, opset_imports=[core, mine], ir_version=8
    )
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ({"F0": ["F0"]}, "calls itself"),
        ({"F0": ["F1"], "F1": ["Relu", "F0"]}, "calls itself"),
        ({f"F{i}": [f"F{i + 1}"] for i in range(2000)}, "calls itself, or others without end"),
        (
            {**{f"F{i}": [f"F{i + 1}"] * 2 for i in range(40)}, "F40": ["Relu"]},
            "more than 100000 nodes",
        ),
    ],
    ids=["itself", "each-other", "deep", "bomb"],
)
def test_functions_without_end_are_refused_before_a_library_writes_them_out(
    bodies: dict[str, list[str]], words: str, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(calls(bodies))

    for read in (
        lambda: open_origin("m.onnx", tmp_path, source_format=None, shapes={}),
        lambda: examine(tmp_path / "m.onnx"),
        lambda: import_model(calls(bodies)),
    ):
        with pytest.raises(ConversionError, match=words):
            read()


def test_functions_within_bounds_are_imported() -> None:
    graph = import_model(calls({"F0": ["F1", "F1"], "F1": ["Relu", "Relu"]}))

    assert {n.op for n in graph.nodes} == {"Relu"}


def keeping(location: str, *, inside_node: bool) -> bytes:
    """Return a model with its weights in another file, as initializer or as Constant."""
    constants: dict[str, Array] = {"w": np.ones(4, np.float32)}
    data = net(
        [node("Add", "x w", "y")], inputs={"x": [4]}, outputs={"y": [4]}, constants=constants
    )
    model = onnx.load_from_string(data)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    if inside_node:
        constant = onnx.helper.make_node("Constant", [], ["w"], name="c")
        attribute = constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
        attribute.t.CopyFrom(tensor)
        del model.graph.initializer[:]
        model.graph.node.insert(0, constant)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("inside_node", [False, True])
@pytest.mark.parametrize("location", ["../w.bin", "up/w.bin", "link.bin", "fifo", ".", "", "a\0b"])
def test_external_data_stay_in_the_models_folder(
    location: str, inside_node: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (folder / "up").symlink_to("..")
    (folder / "link.bin").symlink_to("../w.bin")
    os.mkfifo(folder / "fifo")
    (folder / "m.onnx").write_bytes(keeping(location, inside_node=inside_node))

    with pytest.raises(ConversionError, match=r"outside the model's folder|no such file"):
        read_model(folder / "m.onnx")


@pytest.mark.parametrize("inside_node", [False, True])
def test_external_data_of_initializers_and_constants_are_folded_in(
    inside_node: bool, tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / "m.onnx").write_bytes(keeping("w.bin", inside_node=inside_node))

    origin = open_origin("m.onnx", tmp_path, source_format=None, shapes={})

    sample: Feeds = {"x": np.zeros(4, np.float32)}
    assert origin.reference.run(sample)["y"].tolist() == [0, 1, 2, 3]
    graph = import_model(origin.onnx)
    assert OrtModel(serialize(graph)).run(sample)["y"].tolist() == [0, 1, 2, 3]


def test_external_data_are_counted_once_for_every_tensor(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    model = onnx.load_from_string(keeping("w.bin", inside_node=False))
    for number in range(400):
        model.graph.initializer.append(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"w{number}"

    check_external(external_tensors(model), tmp_path, 16 * 401)
    with pytest.raises(ConversionError, match="external data are larger than 6400 bytes"):
        check_external(external_tensors(model), tmp_path, 16 * 400)


@pytest.mark.parametrize("name", ["m.onnx", "m.tflite"])
def test_pipe_in_place_of_a_model_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)

    with pytest.raises(StorageError, match="cannot read"):
        open_origin(name, tmp_path, source_format=None, shapes={})
