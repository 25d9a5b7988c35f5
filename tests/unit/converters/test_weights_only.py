"""Files with small weights and float activations: dense, recurrent and image networks."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.arrays import Array, as_floats
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.operators import multiply_accumulates
from converters.quant.write_weights import write_onnx_dynamic, write_onnx_float16
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.nets import feeds, floats, net, node
from tests.unit.converters.nets_cnn import FAMILIES
from tests.unit.converters.tflite_runner import TfliteRunner

HIDDEN = 32
STEPS = 6
GATES = {"LSTM": 4, "GRU": 3}
SAMPLES = feeds("x", STEPS, 1, 9)


def recurrent(op: str, direction: str = "forward") -> Graph:
    directions, rows = 1 + (direction == "bidirectional"), GATES[op] * HIDDEN
    constants: dict[str, Array] = {
        "w": floats(1, directions, rows, 9, scale=0.3),
        "r": floats(2, directions, rows, HIDDEN, scale=0.3),
        "b": floats(3, directions, 2 * rows, scale=0.2),
        "k": floats(5, HIDDEN, 7, scale=0.3),
    }
    nodes = [
        node(op, "x w r b", "h", name="memory", hidden_size=HIDDEN, direction=direction),
        node("MatMul", "h k", "y", name="head"),
    ]
    return import_model(
        net(
            nodes,
            inputs={"x": [STEPS, 1, 9]},
            outputs={"y": [STEPS, directions, 1, 7]},
            constants=constants,
        )
    )


def furthest(graph: Graph, found: OrtModel | TfliteRunner) -> float:
    """Return the largest error as a share of the largest output."""
    reference, output = OrtModel(serialize(graph)), graph.outputs[0]
    real = as_floats(np.stack([reference.run(sample)[output] for sample in SAMPLES]))
    other = as_floats(np.stack([found.run(sample)[output] for sample in SAMPLES]))
    return float(np.abs(real - other).max() / np.abs(real).max())


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("op", sorted(GATES))
def test_recurrent_weights_take_half_the_bytes(op: str, direction: str) -> None:
    graph = recurrent(op, direction)
    data = write_onnx_float16(graph)

    lowered = lower_to_tflite(graph, weights="float16")

    assert len(data) < 0.65 * len(serialize(graph))
    assert furthest(graph, OrtModel(data)) < 2e-3
    assert furthest(graph, TfliteRunner(lowered)) < 2e-3
    matrices = 2 * (1 + (direction == "bidirectional")) + 1
    # GRU keeps the rows of its gates and of its candidate apart.
    assert lowered.operators["DEQUANTIZE"] <= 2 * matrices, "one per matrix, not one per step"


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_lstm_computes_in_integers_in_both_runtimes(direction: str) -> None:
    graph = recurrent("LSTM", direction)

    data, layers = write_onnx_dynamic(graph)
    lowered = lower_to_tflite(graph, weights="dynamic-int8")

    assert layers == lowered.hybrid_layers == {"memory", "head"}
    assert len(data) < 0.45 * len(serialize(graph))
    assert furthest(graph, OrtModel(data)) < 0.03
    assert furthest(graph, TfliteRunner(lowered)) < 0.03


def test_gru_stays_float_in_onnx_and_computes_in_integers_in_tflite() -> None:
    graph = recurrent("GRU")

    data, layers = write_onnx_dynamic(graph)
    lowered = lower_to_tflite(graph, weights="dynamic-int8")

    assert layers == {"head"}
    assert lowered.hybrid_layers == {"memory", "head"}
    assert furthest(graph, OrtModel(data)) < 0.03
    assert furthest(graph, TfliteRunner(lowered)) < 0.03


def test_dense_layers_of_hybrid_files_have_one_scale() -> None:
    """tflite-runtime 2.14 answers zeros, silently, where they have one per row."""
    data = lower_to_tflite(recurrent("LSTM"), weights="dynamic-int8").data
    tensors = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0)).subgraphs[0].tensors

    scales = [len(t.quantization.scale) for t in tensors if t.type == schema.TensorType.INT8]

    assert scales
    assert set(scales) == {1}


def test_depthwise_layers_stay_float() -> None:
    graph = import_model(FAMILIES["mobilenet-v1"]())
    depthwise = {one.name for one in graph.nodes if one.attributes.get("group", 1) != 1}

    lowered = lower_to_tflite(graph, weights="dynamic-int8")

    layers = {one.name for one in graph.nodes if multiply_accumulates(graph, one)}
    assert depthwise
    assert lowered.hybrid_layers == layers - depthwise


def test_recurrent_layers_count_their_arithmetic() -> None:
    graph = recurrent("LSTM")

    counted = multiply_accumulates(graph, graph.nodes[0])

    assert counted == STEPS * 4 * HIDDEN * (9 + HIDDEN)
