"""Linear models of ``ai.onnx.ml``: the same numbers in core operators, or left as they are."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.helper
import pytest

from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from tests.unit.converters.nets import feeds

FEATURES, CLASSES = 4, 3
ROWS = [float(value) for value in np.random.default_rng(0).normal(size=FEATURES * CLASSES)]
LABELS: Mapping[str, object] = {"classlabels_ints": [0, 1, 2]}


def ml_net(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str] = ("y",), kind: int = 1
) -> bytes:
    """Return a file of ``nodes`` from ``x`` to ``outputs``, rows of element type ``kind``."""
    graph = onnx.helper.make_graph(
        list(nodes),
        "net",
        [onnx.helper.make_tensor_value_info("x", kind, [1, FEATURES])],
        [onnx.helper.make_tensor_value_info(name, 1, None) for name in outputs],
    )
    for value in graph.output:
        value.type.tensor_type.elem_type = 7 if value.name == "label" else 1
        value.type.tensor_type.shape.SetInParent()
        for _ in range(1 if value.name == "label" else 2):
            value.type.tensor_type.shape.dim.add()
    sets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 1)]
    model = onnx.helper.make_model(graph, opset_imports=sets, ir_version=8)
    return bytes(model.SerializeToString())


def ml(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return onnx.helper.make_node(
        op, inputs.split(), outputs.split(), domain="ai.onnx.ml", name=f"my_{op}", **attributes
    )


def classifier(post: str, outputs: str = "label y", **attributes: object) -> onnx.NodeProto:
    options = {**LABELS, "coefficients": ROWS, "intercepts": [0.1, 0.2, 0.3]} | attributes
    return ml("LinearClassifier", "x", outputs, post_transform=post, **options)


def operators(data: bytes) -> list[str]:
    """Return the operators after import, once they have proved to compute the same."""
    graph = import_model(data)
    before, after = OrtModel(data), OrtModel(serialize(graph))
    for sample in feeds("x", 1, FEATURES):
        for name, value in before.run(sample).items():
            assert after.run(sample)[name] == pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True)
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize(
    ("post", "written"),
    [
        ("NONE", ["Gemm"]),
        ("LOGISTIC", ["Gemm", "Sigmoid"]),
        ("SOFTMAX", ["Gemm", "Softmax"]),
        ("PROBIT", ["LinearClassifier"]),
        ("SOFTMAX_ZERO", ["LinearClassifier"]),
    ],
)
def test_a_linear_classifier(post: str, written: list[str]) -> None:
    assert operators(ml_net([classifier(post)])) == written


def test_a_classifier_whose_label_is_wanted_stays() -> None:
    data = ml_net([classifier("SOFTMAX")], outputs=("label", "y"))

    assert operators(data) == ["LinearClassifier"]


def test_a_classifier_of_one_row_for_two_classes_stays() -> None:
    node = classifier(
        "LOGISTIC", classlabels_ints=[0, 1], coefficients=ROWS[:FEATURES], intercepts=[0.1]
    )

    assert operators(ml_net([node])) == ["LinearClassifier"]


def test_rows_of_another_type_stay() -> None:
    graph = import_model(ml_net([classifier("NONE")], kind=onnx.TensorProto.INT64))

    assert "LinearClassifier" in [node.op for node in graph.nodes]


def test_a_regressor_with_several_targets() -> None:
    plain = ml("LinearRegressor", "x", "y", coefficients=ROWS, targets=CLASSES)
    squashed = ml("LinearRegressor", "x", "y", coefficients=ROWS[:4], post_transform="LOGISTIC")

    assert operators(ml_net([plain])) == ["Gemm"]
    assert import_model(ml_net([squashed])).nodes[0].op == "LinearRegressor"


@pytest.mark.parametrize("norm", ["L1", "L2", "MAX"])
def test_a_normalizer(norm: str) -> None:
    written = operators(ml_net([ml("Normalizer", "x", "y", norm=norm)]))

    assert (written == ["Normalizer"]) == (norm == "MAX")


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_a_row_of_zeros_is_normalised_to_zeros(norm: str) -> None:
    graph = import_model(ml_net([ml("Normalizer", "x", "y", norm=norm)]))
    zeros = np.zeros((1, FEATURES), np.float32)

    assert np.array_equal(OrtModel(serialize(graph)).run({"x": zeros})["y"], zeros)


def test_a_chain_scales_decides_and_normalises_once() -> None:
    scale = ml("Scaler", "x", "s", offset=[1.0, 2, 3, 4], scale=[0.5, 1, 2, 0.1])
    decide = classifier("SOFTMAX", "label p")
    decide.input[0] = "s"

    written = operators(ml_net([scale, decide, ml("Normalizer", "p", "y", norm="L1")]))

    assert written == ["Sub", "Mul", "Gemm", "Softmax"]


def test_one_offset_serves_all_columns() -> None:
    assert operators(ml_net([ml("Scaler", "x", "y", offset=[2.0], scale=[3.0])])) == ["Sub", "Mul"]
