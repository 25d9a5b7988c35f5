"""Every runtime against the NumPy simulation of the plan: one step, and mostly none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from converters.arrays import Array, Feeds, Floats, as_floats
from converters.calibration import calibrate
from converters.graph import Graph, prune_unused
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.plan import QuantPlan
from converters.quant.planner import plan_quantization
from converters.quant.simulate import Simulation, simulate
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.nets import conv_net, feeds, floats, net, node
from tests.unit.converters.nets_cnn import FAMILIES, SIZE
from tests.unit.converters.tflite_runner import TfliteRunner

SAMPLES = 24


def steps_apart(first: list[Array], second: list[Array], plan: QuantPlan, output: str) -> Floats:
    """Return by how many steps of ``output``'s grid the answers differ."""
    step = np.float32(plan.tensors[output].scale[0])
    apart = as_floats(np.stack(first)) - as_floats(np.stack(second))
    return as_floats(np.abs(np.rint(apart / step)))


def planned(data: bytes, samples: list[Feeds]) -> tuple[Graph, QuantPlan]:
    graph = import_model(data)
    return graph, plan_quantization(graph, calibrate(graph, lambda: samples).ranges)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_agree_across_runtimes(family: str) -> None:
    samples = feeds("x", 1, 3, SIZE, SIZE, count=SAMPLES)
    graph, plan = planned(FAMILIES[family](), samples)
    simulation, output = Simulation(graph, plan), graph.outputs[0]
    onnx_model = OrtModel(write_onnx_int8(graph, plan))
    tflite = TfliteRunner(lower_to_tflite(graph, plan))

    exact, by_onnx, by_tflite = (
        [model.run(sample)[output] for sample in samples]
        for model in (simulation, onnx_model, tflite)
    )

    assert not plan.islands
    assert plan.quantized_macs == plan.quantized_bytes == 1.0
    for answers in (by_onnx, by_tflite):
        assert np.mean(steps_apart(answers, exact, plan, output) <= 1) >= 0.99
        assert [a.argmax() for a in answers] == [a.argmax() for a in exact]
    assert np.mean(steps_apart(by_onnx, by_tflite, plan, output) <= 1) >= 0.99


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_simulation_is_close_to_float(family: str) -> None:
    samples = feeds("x", 1, 3, SIZE, SIZE, count=8)
    graph, plan = planned(FAMILIES[family](), samples)
    reference = OrtModel(serialize(graph))
    output = graph.outputs[0]

    exact = np.array([simulate(graph, plan, sample)[output] for sample in samples])
    real = np.array([reference.run(sample)[output] for sample in samples])

    assert np.mean((exact - real) ** 2) < 0.01 * np.mean(real**2)


def between(*inner: str, shape: tuple[int, ...] = (1, 8, 6, 6), **attributes: object) -> bytes:
    """Return conv, the operator in question, and another conv so that it is worth integers."""
    op, *others = inner
    names = " ".join(["a", *others])
    constants: dict[str, Array] = {
        "w": floats(1, 8, 3, 3, 3, scale=0.3),
        "b": floats(2, 8, scale=0.5),
        "w2": floats(3, 4, shape[1], 1, 1, scale=0.4),
        "slope": np.abs(floats(4, 8, 1, 1)) * np.float32(0.3),
        "number": np.asarray(1.5, np.float32),
        "row": floats(5, 1, 8, 1, 1),
        "axes": np.array([2, 3]),
        "starts": np.array([1]),
        "ends": np.array([5]),
        "along": np.array([2]),
        "picked": np.array([3, 0, 2, 2]),
        "pads": np.array([0, 1, 0, 2, 0, 1, 0, 0]),
        "sizes": np.array([1, 8, 12, 12]),
        "nothing": np.array([], np.float32),
        "parts": np.array([4, 4]),
        "wt": floats(6, 8, 5, 3, 3, scale=0.3),
        "bt": floats(7, 5, scale=0.3),
        "wg": floats(8, 6, 4, 3, 3, scale=0.3),
    }
    outputs = "m n" if op == "Split" else "m"
    nodes = [
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1], name="first"),
        node(op, names, outputs, name="middle", **attributes),
        node("Conv", "m w2", "y", name="last"),
    ]
    used = {name for one in nodes for name in one.input}
    return net(
        nodes,
        inputs={"x": [1, 3, 6, 6]},
        outputs={"y": ["a", "b", "c", "d"]},
        constants={name: value for name, value in constants.items() if name in used},
    )


OPERATORS: dict[str, Callable[[], bytes]] = {
    "add": lambda: between("Add", "a"),
    "average-pool": lambda: between("AveragePool", kernel_shape=[2, 2]),
    "concat": lambda: between("Concat", "a", shape=(1, 16, 6, 6), axis=1),
    "conv-grouped": lambda: between("Conv", "wg", shape=(1, 6, 6, 6), group=2, pads=[1, 1, 1, 1]),
    "conv-transpose": lambda: between(
        "ConvTranspose", "wt", "bt", shape=(1, 5, 12, 12), strides=[2, 2], pads=[1, 1, 0, 0]
    ),
    "depth-to-space": lambda: between("DepthToSpace", shape=(1, 2, 12, 12), blocksize=2),
    "gather": lambda: between("Gather", "picked", shape=(1, 4, 6, 6), axis=1),
    "global-mean": lambda: between("GlobalAveragePool"),
    "hard-sigmoid": lambda: between("HardSigmoid", alpha=0.25, beta=0.4),
    "hard-swish": lambda: between("HardSwish"),
    "leaky-relu": lambda: between("LeakyRelu", alpha=0.2),
    "max": lambda: between("Max", "row"),
    "min": lambda: between("Min", "number"),
    "mul": lambda: between("Mul", "a"),
    "pad": lambda: between("Pad", "pads", shape=(1, 10, 6, 8)),
    "prelu": lambda: between("PRelu", "slope"),
    "reduce-mean": lambda: between("ReduceMean", axes=[2, 3]),
    "relu": lambda: between("Relu"),
    "resize-nearest": lambda: between(
        "Resize", "nothing", "nothing", "sizes", mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
    "resize-linear": lambda: between("Resize", "nothing", "nothing", "sizes", mode="linear"),
    "sigmoid": lambda: between("Sigmoid"),
    "slice": lambda: between("Slice", "starts", "ends", "along"),
    "softmax": lambda: between("Softmax", axis=1),
    "space-to-depth": lambda: between("SpaceToDepth", shape=(1, 32, 3, 3), blocksize=2),
    "split": lambda: between("Split", "parts", shape=(1, 4, 6, 6), axis=1),
    "sub": lambda: between("Sub", "row"),
    "tanh": lambda: between("Tanh"),
    "transpose": lambda: between("Transpose", perm=[0, 1, 3, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operator_is_the_same_integers_everywhere(name: str) -> None:
    samples = feeds("x", 1, 3, 6, 6, count=6)
    graph, plan = planned(OPERATORS[name](), samples)
    output = next(one for one in graph.nodes if one.name == "middle").outputs[0]
    cut = prune_unused(replace(graph, outputs=(output,)))

    exact = [simulate(cut, plan, sample)[output] for sample in samples]
    onnx_model = OrtModel(write_onnx_int8(cut, plan))
    plain = OrtModel(write_onnx_int8(cut, plan), optimize=False)
    tflite = TfliteRunner(lower_to_tflite(cut, plan))

    assert not plan.islands
    for model in (onnx_model, plain, tflite):
        apart = steps_apart([model.run(s)[output] for s in samples], exact, plan, output)
        assert apart.max() <= 1
        assert np.mean(apart) <= 0.3


def test_simulation_returns_any_tensor_and_runs_float_islands() -> None:
    samples = feeds("x", 1, 3, 9, 9)
    graph = import_model(conv_net())
    ranges = calibrate(graph, lambda: samples).ranges
    plan = plan_quantization(graph, ranges, keep_float=[graph.nodes[2].name])
    inner = graph.nodes[1].outputs[0]

    found = simulate(graph, plan, samples[0], [inner, *graph.outputs])

    grid = plan.tensors[inner]
    assert np.array_equal(grid.dequantize(grid.quantize(found[inner])), found[inner])
    expected = OrtModel(write_onnx_int8(graph, plan)).run(samples[0])
    assert found["y"] == pytest.approx(expected["y"], abs=1e-3)
