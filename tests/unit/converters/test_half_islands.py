"""Layers that stay float in an integer file: half the bytes, the same numbers everywhere."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.arrays import Array, as_floats
from converters.calibration import calibrate
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.half_islands import halve_islands
from converters.quant.plan import QuantPlan
from converters.quant.planner import plan_quantization
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.nets import feeds, floats, net, node
from tests.unit.converters.tflite_runner import TfliteRunner

SAMPLES = feeds("x", 1, 8, 6, 6)


def two_layers(scale: float = 1.0) -> Graph:
    constants: dict[str, Array] = {
        "w": floats(1, 8, 8, 3, 3) * np.float32(scale),
        "v": floats(2, 8, 8, 1, 1),
    }
    nodes = [node("Conv", "x w", "h", "first", pads=[1, 1, 1, 1]), node("Conv", "h v", "y", "last")]
    shape = [1, 8, 6, 6]
    return import_model(net(nodes, inputs={"x": shape}, outputs={"y": shape}, constants=constants))


def planned(graph: Graph) -> QuantPlan:
    ranges = calibrate(graph, lambda: SAMPLES).ranges
    return plan_quantization(graph, ranges, keep_float=["first"])


def stored_types(data: bytes) -> set[int]:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    tensors = model.subgraphs[0].tensors
    return {
        t.type for t in tensors if model.buffers[t.buffer].data is not None and len(t.shape) > 1
    }


def test_only_float_layers_are_rounded_and_stored_in_half() -> None:
    graph = two_layers()
    plan = planned(graph)

    halved = halve_islands(graph, plan.quantized)

    first, last = (node.inputs[1] for node in graph.nodes if node.op == "Conv")
    assert not np.array_equal(halved.constants[first], graph.constants[first])
    np.testing.assert_array_equal(
        halved.constants[first], graph.constants[first].astype(np.float16).astype(np.float32)
    )
    np.testing.assert_array_equal(halved.constants[last], graph.constants[last])
    data = lower_to_tflite(halved, plan).data
    assert schema.TensorType.FLOAT16 in stored_types(data)
    assert schema.TensorType.FLOAT16 not in stored_types(lower_to_tflite(graph, plan).data)
    assert len(data) < len(lower_to_tflite(graph, plan).data) - 8 * 8 * 9


def test_the_file_computes_what_the_rounded_graph_does() -> None:
    graph = two_layers()
    plan = planned(graph)
    halved = halve_islands(graph, plan.quantized)
    exact = OrtModel(serialize(halved))
    tflite = TfliteRunner(lower_to_tflite(halved, plan))

    for sample in SAMPLES:
        want, have = as_floats(exact.run(sample)["y"]), as_floats(tflite.run(sample)["y"])
        assert np.abs(want - have).max() < 0.03 * np.abs(want).max()


def test_weights_beyond_half_precision_and_integer_edges_stay_full() -> None:
    large = two_layers(1e6)
    assert halve_islands(large, frozenset()).constants.keys() == large.constants.keys()
    first = large.nodes[0].inputs[1]
    kept = halve_islands(large, frozenset()).constants[first]
    np.testing.assert_array_equal(kept, large.constants[first])

    graph = two_layers()
    plan = planned(graph)
    edges = lower_to_tflite(halve_islands(graph, plan.quantized), plan, io="int8").data
    assert schema.TensorType.FLOAT16 not in stored_types(edges)
