"""Random graphs: the hub, ONNX Runtime and LiteRT agree, or the tool refuses."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.helper
import onnx.shape_inference
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.arrays import Array, as_floats
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.run import LiteRtModel
from edgeops.errors import ConversionError
from tests.unit.converters.nets import floats, net

FUNCTIONS = [
    "Relu", "Sigmoid", "Tanh", "HardSwish", "Abs", "Neg", "LeakyRelu", "Elu", "Softplus",
    "Softsign", "HardSigmoid", "Erf", "Selu", "Identity", "ThresholdedRelu", "Sin", "Cos",
]  # fmt: skip
REDUCTIONS = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp"]
SIZES = st.integers(1, 6)
Shape = tuple[int, ...]


@dataclass
class Drawing:
    """A graph in the making: every step reads the last tensor and maybe an earlier one."""

    draw: st.DrawFn
    first: Shape
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def pick(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def one_of(self, *choices: str) -> str:
        return self.draw(st.sampled_from(choices))

    def weights(self, *shape: int) -> str:
        return self.constant(floats(len(self.constants), *shape, scale=0.5))

    def constant(self, value: Array) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def data(self) -> bytes:
        results = {name: [f"{name}_{i}" for i in range(len(s))] for name, s in self.shapes.items()}
        last = [name for name in results if name != "x"][-2:]
        return net(
            self.nodes,
            inputs={"x": self.first},
            outputs={name: results[name] for name in last},
            constants=self.constants,
        )

    def add(self, op: str, inputs: str, **attributes: object) -> None:
        """Add a node if its shapes fit; a drawing that does not fit is simply not drawn."""
        names = [f"t{len(self.shapes) + i}" for i in range(2 if op == "Split" else 1)]
        self.nodes.append(onnx.helper.make_node(op, inputs.split(), names, **attributes))
        kinds = {"x": list(self.first)}
        model = onnx.load_from_string(
            net(self.nodes, inputs=kinds, outputs={}, constants=self.constants)
        )
        try:
            model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except onnx.shape_inference.InferenceError:
            self.nodes.pop()
            return
        found = {v.name: v.type.tensor_type.shape.dim for v in model.graph.value_info}
        shapes = [tuple(int(d.dim_value) for d in found.get(name, ())) for name in names]
        if any(len(s) > 4 or min(s, default=1) < 1 or np.prod(s) > 4000 for s in shapes):
            self.nodes.pop()
            return
        self.shapes |= dict(zip(names, shapes, strict=True))


def draw_function(g: Drawing, x: str, _: Shape) -> None:
    g.add(g.one_of(*FUNCTIONS), x)


def draw_convolution(g: Drawing, x: str, shape: Shape) -> None:
    rank = len(shape) - 2
    if rank not in (1, 2):
        return
    kernel = [g.pick(1, 3) for _ in range(rank)]
    depthwise = g.draw(st.booleans())
    group = shape[1] if depthwise else 1
    outputs = shape[1] * g.pick(1, 2) if depthwise else g.pick(1, 5)
    weights = g.weights(outputs, shape[1] // group, *kernel)
    g.add(
        "Conv",
        f"{x} {weights}",
        group=group,
        pads=[g.pick(0, 2) for _ in range(2 * rank)],
        strides=[g.pick(1, 2) for _ in range(rank)],
        dilations=[g.pick(1, 2)] * rank,
    )


def draw_pool(g: Drawing, x: str, shape: Shape) -> None:
    rank = len(shape) - 2
    if rank not in (1, 2):
        return
    kernel = [g.pick(1, 3) for _ in range(rank)]
    attributes: dict[str, object] = {
        "kernel_shape": kernel,
        "strides": [g.pick(1, 3) for _ in range(rank)],
        "pads": [g.pick(0, size - 1) for size in kernel * 2],
        "ceil_mode": g.pick(0, 1),
    }
    op = g.one_of("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
    if op.startswith("Global"):
        attributes = {}
    elif op == "AveragePool":
        attributes["count_include_pad"] = g.pick(0, 1)
    g.add(op, x, **attributes)


def draw_arithmetic(g: Drawing, x: str, shape: Shape) -> None:
    others = [name for name, other in g.shapes.items() if other == shape]
    other = g.draw(st.sampled_from(others))
    if g.draw(st.booleans()):
        other = g.weights(*(size if g.pick(0, 1) else 1 for size in shape))
    op = g.one_of("Add", "Sub", "Mul", "Max", "Min")
    g.add(op, f"{x} {other}" if g.draw(st.booleans()) else f"{other} {x}")


def draw_movement(g: Drawing, x: str, shape: Shape) -> None:
    if g.draw(st.booleans()):
        g.add("Transpose", x, perm=g.draw(st.permutations(range(len(shape)))))
        return
    cut = g.pick(1, len(shape))
    target = [*shape[: cut - 1], -1] if g.draw(st.booleans()) else [1, *shape]
    g.add("Reshape", f"{x} {g.constant(np.asarray(target, np.int64))}")


def draw_parts(g: Drawing, x: str, shape: Shape) -> None:
    axis = g.pick(-len(shape), len(shape) - 1)
    if g.draw(st.booleans()):
        same = [n for n, s in g.shapes.items() if len(s) == len(shape)]
        g.add("Concat", f"{x} {g.draw(st.sampled_from(same))} {x}", axis=axis)
        return
    numbers = [g.pick(0, 2), g.pick(-2, 9), axis, g.pick(-2, 3) or 1]
    bounds = [g.constant(np.asarray([number], np.int64)) for number in numbers]
    g.add("Slice", f"{x} {' '.join(bounds)}")


def draw_split(g: Drawing, x: str, shape: Shape) -> None:
    axis = g.pick(0, len(shape) - 1)
    if shape[axis] > 1:
        sizes = np.asarray([1, shape[axis] - 1], np.int64)
        g.add("Split", f"{x} {g.constant(sizes)}", axis=axis)


def draw_pads(g: Drawing, x: str, shape: Shape) -> None:
    mode = g.one_of("constant", "reflect", "edge")
    pads = [g.pick(0, min(2, size - 1)) for size in shape * 2]
    g.add("Pad", f"{x} {g.constant(np.asarray(pads, np.int64))}", mode=mode)


def draw_reduction(g: Drawing, x: str, shape: Shape) -> None:
    axes = sorted(g.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    op = g.one_of(*REDUCTIONS)
    g.add(op, x, axes=axes, keepdims=g.pick(0, 1))


def draw_resize(g: Drawing, x: str, shape: Shape) -> None:
    if len(shape) != 4:
        return
    sizes = g.constant(np.asarray([*shape[:2], g.pick(1, 9), g.pick(1, 9)], np.int64))
    empty = g.constant(np.zeros(0, np.float32))
    where = ["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]
    attributes: dict[str, object] = {
        "mode": g.one_of("nearest", "linear"),
        "coordinate_transformation_mode": g.one_of(*where),
    }
    if attributes["mode"] == "nearest":
        attributes["nearest_mode"] = g.one_of("floor", "ceil", "round_prefer_floor")
    g.add("Resize", f"{x} {empty} {empty} {sizes}", **attributes)


def draw_along(g: Drawing, x: str, shape: Shape) -> None:
    axis = g.pick(0, len(shape) - 1)
    op = g.one_of("Softmax", "LogSoftmax", "LayerNormalization", "Gather", "PRelu")
    if op == "Gather":
        places = [g.pick(-shape[axis], shape[axis] - 1) for _ in range(2)]
        g.add(op, f"{x} {g.constant(np.asarray(places, np.int64))}", axis=axis)
    elif op == "LayerNormalization":
        g.add(op, f"{x} {g.weights(*shape[axis:])} {g.weights(*shape[axis:])}", axis=axis)
    elif op == "PRelu":
        g.add(op, f"{x} {g.weights(*shape[1:2], *(1 for _ in shape[2:]))}")
    else:
        g.add(op, x, axis=axis)


def draw_product(g: Drawing, x: str, shape: Shape) -> None:
    if len(shape) > 1:
        g.add("MatMul", f"{x} {g.weights(shape[-1], g.pick(1, 5))}")


STEPS: list[Callable[[Drawing, str, Shape], None]] = [
    draw_function, draw_convolution, draw_convolution, draw_pool, draw_arithmetic, draw_movement,
    draw_parts, draw_split, draw_pads, draw_reduction, draw_resize, draw_along, draw_product,
]  # fmt: skip


@st.composite
def models(draw: st.DrawFn) -> tuple[bytes, Shape]:
    """Return a model of up to eight nodes, and the shape of its input ``x``."""
    rank = draw(st.sampled_from([2, 3, 4, 4, 4]))
    first = (1, *(draw(SIZES) for _ in range(rank - 1)))
    drawing = Drawing(draw, first, shapes={"x": first})
    for _ in range(draw(st.integers(1, 8))):
        step = draw(st.sampled_from(STEPS))
        name = draw(st.sampled_from([n for n, s in drawing.shapes.items() if s][-3:]))
        step(drawing, name, drawing.shapes[name])
    if not drawing.nodes:
        drawing.add("Relu", "x")
    return drawing.data(), first


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(models())
def test_random_graphs_agree_or_are_refused(drawn: tuple[bytes, Shape]) -> None:
    data, shape = drawn
    feeds: dict[str, Array] = {"x": floats(7, *shape)}
    try:
        expected = OrtModel(data).run(feeds)
        graph = import_model(data)
        lowered = lower_to_tflite(graph)
    except ConversionError:
        return
    hub = OrtModel(serialize(graph)).run(feeds)
    found = LiteRtModel(lowered).run(feeds)
    for name, value in expected.items():
        limit = 1e-4 * max(1.0, float(np.abs(as_floats(value)).max()))
        assert hub[name] == pytest.approx(value, abs=limit)
        assert found[name] == pytest.approx(value, abs=limit)
