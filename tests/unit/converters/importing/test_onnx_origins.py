"""ONNX files of every kind through the one door: half precision, functions, trees, too new."""

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from converters.arrays import Array, Feeds
from converters.importing.gate import compare, require_equal
from converters.importing.importer import import_model
from converters.importing.origin import Origin, format_of, open_origin
from converters.onnx_format import TARGET_OPSET, serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from edgeops.errors import (
    ConversionError,
    MissingExtraError,
    StorageError,
    UnsupportedModelError,
    UsageError,
)
from tests.unit.converters.nets import conv_net, feeds, floats, net, node

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def origin_of(data: bytes, folder: Path) -> Origin:
    (folder / "m.onnx").write_bytes(data)
    return open_origin("m.onnx", folder, source_format=None, shapes={})


def half_net(kind: int) -> bytes:
    """Return convolution, Cast to float and back, Relu in half precision; I/O of ``kind``."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(HALF)
    constants = {
        "w": floats(1, 4, 3, 3, 3, scale=0.3).astype(dtype),
        "b": floats(2, 4).astype(dtype),
    }
    first = [] if kind == HALF else [node("Cast", "x", "h", to=HALF)]
    nodes = [
        *first,
        node("Conv", ("x" if kind == HALF else "h") + " w b", "c", pads=[1] * 4),
        node("Cast", "c", "f", to=FLOAT),
        node("Softmax", "f", "s", axis=1),
        node("Cast", "s", "t", to=kind),
        node("Relu", "t", "y"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "half",
        [onnx.helper.make_tensor_value_info("x", kind, [1, 3, 6, 6])],
        [onnx.helper.make_tensor_value_info("y", kind, [1, 4, 6, 6])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("kind", [FLOAT, HALF])
def test_half_precision_becomes_float32_and_says_so(kind: int, tmp_path: Path) -> None:
    origin = origin_of(half_net(kind), tmp_path)

    graph = import_model(origin.onnx)

    assert "half precision" in origin.notes[0]
    assert {value.dtype for value in graph.constants.values()} == {np.dtype(np.float32)}
    assert [n.op for n in graph.nodes] == ["Conv", "Softmax", "Relu"]
    result = compare(origin.reference, OrtModel(serialize(graph)), feeds("x", 1, 3, 6, 6))
    require_equal(result, origin.tolerance)
    assert lower_to_tflite(graph).operators


def test_functions_of_the_model_are_written_out(tmp_path: Path) -> None:
    function = onnx.helper.make_function(
        "mine",
        "Twice",
        ["a"],
        ["b"],
        [node("Add", "a a", "b")],
        [onnx.helper.make_opsetid("", 17)],
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Twice", ["x"], ["y"], domain="mine")],
        "g",
        [onnx.helper.make_tensor_value_info("x", FLOAT, [1, 4])],
        [onnx.helper.make_tensor_value_info("y", FLOAT, [1, 4])],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("mine", 1)]
    model = onnx.helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=8)

    origin = origin_of(bytes(model.SerializeToString()), tmp_path)
    imported = import_model(origin.onnx)

    assert [n.op for n in imported.nodes] == ["Add"]


def trees(maps: bool = False) -> bytes:
    """Return a tree with two leaves per class, in the domain of classical models."""
    nodes = [
        onnx.helper.make_node(
            "TreeEnsembleClassifier",
            ["x"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            name="forest",
            nodes_treeids=[0, 0, 0],
            nodes_nodeids=[0, 1, 2],
            nodes_featureids=[1, 0, 0],
            nodes_values=[0.5, 0.0, 0.0],
            nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_truenodeids=[1, 0, 0],
            nodes_falsenodeids=[2, 0, 0],
            class_treeids=[0, 0, 0, 0],
            class_nodeids=[1, 1, 2, 2],
            class_ids=[0, 1, 0, 1],
            class_weights=[0.9, 0.1, 0.2, 0.8],
            classlabels_int64s=[0, 1],
            post_transform="NONE",
        )
    ]
    output = "scores"
    if maps:
        output = "maps"
        nodes.append(
            onnx.helper.make_node(
                "ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
            )
        )
    nodes.append(node("Identity", output, "y"))
    graph = onnx.helper.make_graph(
        nodes if not maps else nodes[:-1],
        "trees",
        [onnx.helper.make_tensor_value_info("x", FLOAT, ["n", 3])],
        [
            onnx.helper.make_tensor_value_info("y", FLOAT, ["n", 2])
            if not maps
            else onnx.helper.make_value_info(
                "maps",
                onnx.helper.make_sequence_type_proto(
                    onnx.helper.make_map_type_proto(
                        onnx.TensorProto.INT64, onnx.helper.make_tensor_type_proto(FLOAT, None)
                    )
                ),
            )
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 15), onnx.helper.make_opsetid("ai.onnx.ml", 2)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def test_trees_stay_in_their_domain_with_types_from_a_run(tmp_path: Path) -> None:
    origin = origin_of(trees(), tmp_path)

    graph = import_model(origin.onnx)

    assert graph.shape(graph.outputs[0]) == (1, 2)
    result = compare(origin.reference, OrtModel(serialize(graph)), feeds("x", 1, 3))
    assert result.relative == 0
    with pytest.raises(UnsupportedModelError, match="'forest'"):
        lower_to_tflite(graph)


@pytest.mark.parametrize("sets", [[("ai.onnx.ml", 1)], [("", 22), ("ai.onnx.ml", 1), ("", 22)]])
def test_trees_alone_need_no_core_operator_set(sets: list[tuple[str, int]], tmp_path: Path) -> None:
    """Exporters of boosted trees name none, skl2onnx names one twice that nothing goes by."""
    model = onnx.load_from_string(trees())
    del model.graph.node[1:]
    model.graph.output[0].name = "scores"
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in sets)

    origin = origin_of(bytes(model.SerializeToString()), tmp_path)
    graph = import_model(origin.onnx)

    assert graph.opset == TARGET_OPSET
    result = compare(origin.reference, OrtModel(serialize(graph)), feeds("x", 1, 3))
    assert result.relative == 0 < result.max_abs_value


def test_core_operators_without_their_operator_set_are_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(conv_net())
    del model.opset_import[:]

    with pytest.raises(ConversionError, match="opset"):
        import_model(origin_of(bytes(model.SerializeToString()), tmp_path).onnx)


def test_maps_become_tensors_and_labels_are_left_to_the_scores(tmp_path: Path) -> None:
    model = onnx.load_from_string(trees(maps=True))
    label = onnx.helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["n"])
    model.graph.output.insert(0, label)

    origin = origin_of(bytes(model.SerializeToString()), tmp_path)
    graph = import_model(origin.onnx)

    assert graph.outputs == ("maps",)
    assert graph.shape("maps") == (1, 2)
    assert [note for note in origin.notes if "'label' is left out" in note]
    found = origin.reference.run({"x": np.array([[0, 1, 0]], np.float32)})
    assert found["maps"].tolist() == [pytest.approx([0.2, 0.8])]


def test_map_that_is_no_output_is_refused_in_one_sentence() -> None:
    model = onnx.load_from_string(trees(maps=True))
    model.graph.output.append(onnx.helper.make_tensor_value_info("scores", FLOAT, ["n", 2]))

    with pytest.raises(ConversionError, match="no tensor") as refusal:
        import_model(bytes(model.SerializeToString()))
    assert "\n" not in str(refusal.value)


def test_file_newer_than_the_runtime_is_held_against_onnx_itself(tmp_path: Path) -> None:
    model = onnx.load_from_string(conv_net())
    model.ir_version = onnx.IR_VERSION
    model.opset_import[0].version = onnx.defs.onnx_opset_version()

    origin = origin_of(bytes(model.SerializeToString()), tmp_path)
    graph = import_model(origin.onnx)

    assert "reference implementation" in origin.notes[0]
    result = compare(origin.reference, OrtModel(serialize(graph)), feeds("x", 1, 3, 9, 9, count=1))
    require_equal(result, origin.tolerance)


@pytest.mark.parametrize(
    ("name", "fault", "words"),
    [
        ("m.pkl", UsageError, "can run code"),
        ("m.pt2", UsageError, "name its format"),
        ("m.json", UsageError, "xgboost"),
        ("m.bin", UsageError, "one of onnx, tflite"),
        ("missing.bin", StorageError, "no such file"),
        ("module:factory", UsageError, "--format, one of pytorch"),
    ],
)
def test_format_is_never_guessed_where_that_is_unsafe(
    name: str, fault: type[Exception], words: str, tmp_path: Path
) -> None:
    if not name.startswith(("missing", "module")):
        (tmp_path / name).write_bytes(b"anything")

    with pytest.raises(fault, match=words):
        open_origin(name, tmp_path, source_format=None, shapes={})


def test_suffix_or_content_of_a_folder_tells_the_format(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")

    found = [format_of(name, tmp_path) for name in ("a.onnx", "a.tflite", "a.keras", "saved")]

    assert found == ["onnx", "tflite", "keras", "savedmodel"]


def test_missing_framework_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(spec: str, folder: Path, shapes: object) -> Origin:
        raise ModuleNotFoundError("no module named torch", name="torch")

    monkeypatch.setattr("converters.importing.from_onnx.open_onnx", absent)

    with pytest.raises(MissingExtraError, match=r"'torch'.*edgeops\[convert\]"):
        open_origin("m.onnx", tmp_path, source_format="onnx", shapes={})


def test_small_file_cannot_ask_for_a_huge_constant() -> None:
    constants: dict[str, Array] = {"b": np.array([1e5, 1e5]), "e": np.array([1.0, 1.0])}
    nodes = [
        node("Pow", "b e", "p"),
        node("Cast", "p", "s", to=onnx.TensorProto.INT64),
        node("ConstantOfShape", "s", "huge"),
        node("ReduceSum", "huge", "sum", keepdims=0),
        node("Add", "x sum", "y"),
    ]
    data = net(nodes, inputs={"x": [1, 4]}, outputs={"y": [1, 4]}, constants=constants)

    with pytest.raises(ConversionError, match="too large to run"):
        import_model(data)


@pytest.mark.parametrize("pads", [[0, 0, 1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0, 0, 2]])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_optimizer_does_not_take_padded_zeros_for_a_pools_own(
    op: str, pads: list[int], tmp_path: Path
) -> None:
    """ONNX Runtime merges both, and zeros that should win over negative numbers are lost."""
    nodes = [node("Pad", "x p", "a"), node(op, "a", "y", kernel_shape=[2, 2])]
    shape = [1, 1, 8, 8]
    rows = [1, 1, 8, 7 + pads[-1]]
    constants: dict[str, Array] = {"p": np.array(pads)}
    data = net(nodes, inputs={"x": shape}, outputs={"y": rows}, constants=constants)
    sample: Feeds = {"x": -1 - np.abs(floats(1, *shape))}

    origin = origin_of(data, tmp_path)
    written = serialize(import_model(origin.onnx))

    assert compare(origin.reference, OrtModel(written), [sample]).max_abs_diff < 1e-6
