"""Random networks: whatever the plan says, all three computations of it agree."""

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.arrays import Array, as_floats
from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.ort import OrtModel
from converters.quant.planner import plan_quantization
from converters.quant.simulate import Simulation
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.nets import feeds, floats, net, node
from tests.unit.converters.tflite_runner import TfliteRunner

STEPS = (
    "conv", "conv-stride", "depthwise", "relu", "hard-swish", "sigmoid", "tanh", "leaky-relu",
    "clip", "add", "mul", "sub", "concat", "max", "max-pool", "mean", "resize", "split",
    "transpose", "softmax", "sin", "pad", "squeeze-and-excite", "deconv",
)  # fmt: skip


class _Net:
    """A network in the making; every tensor is an image, whose shape is kept beside it."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.images: list[tuple[str, tuple[int, int, int]]] = [("x", (4, 8, 8))]

    def constant(self, value: Array) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def add(
        self, op: str, inputs: str, shape: tuple[int, int, int], **attributes: object
    ) -> tuple[str, tuple[int, int, int]]:
        name = f"t{len(self.nodes)}"
        self.nodes.append(node(op, inputs, name, "", **attributes))
        self.images.append((name, shape))
        return name, shape

    def weights(self, *shape: int) -> str:
        fan = int(np.prod(shape[1:]))
        return self.constant(floats(len(self.nodes), *shape, scale=(1.5 / fan) ** 0.5))

    def conv(self, source: str, shape: tuple[int, int, int], outputs: int, stride: int) -> None:
        channels, height, width = shape
        names = f"{source} {self.weights(outputs, channels, 3, 3)}"
        names += f" {self.constant(floats(len(self.nodes) + 50, outputs, scale=0.2))}"
        after = (outputs, -(-height // stride), -(-width // stride))
        self.add("Conv", names, after, pads=[1] * 4, strides=[stride] * 2)

    def step(self, kind: str, first: int, second: int) -> None:  # noqa: PLR0912, PLR0915 - a menu
        source, shape = self.images[first % len(self.images)]
        alike = [name for name, other in self.images if other == shape]
        partner = alike[second % len(alike)]
        channels, height, width = shape
        match kind:
            case "conv" | "conv-stride":
                self.conv(source, shape, 4 + 2 * (second % 3), 1 + (kind == "conv-stride"))
            case "depthwise":
                names = f"{source} {self.weights(channels, 1, 3, 3)}"
                self.add("Conv", names, shape, pads=[1] * 4, group=channels)
            case "relu" | "sigmoid" | "tanh" | "hard-swish" | "sin":
                op = {"hard-swish": "HardSwish"}.get(kind, kind.capitalize())
                self.add(op, source, shape)
            case "leaky-relu":
                self.add("LeakyRelu", source, shape, alpha=0.15)
            case "clip":
                high = self.constant(np.asarray(6, np.float32))
                self.add(
                    "Clip", f"{source} {self.constant(np.asarray(0, np.float32))} {high}", shape
                )
            case "add" | "mul" | "sub" | "max":
                self.add(kind.capitalize(), f"{source} {partner}", shape)
            case "concat":
                self.add("Concat", f"{source} {partner}", (2 * channels, height, width), axis=1)
            case "max-pool" if min(height, width) > 1:
                self.add("MaxPool", source, (channels, height - 1, width - 1), kernel_shape=[2, 2])
            case "mean":
                self.add("ReduceMean", source, (channels, 1, 1), axes=[2, 3], keepdims=1)
            case "resize" if max(height, width) < 16:
                scales = self.constant(np.array([1, 1, 2, 2], np.float32))
                nothing = self.constant(np.array([], np.float32))
                self.add(
                    "Resize", f"{source} {nothing} {scales}", (channels, 2 * height, 2 * width),
                    coordinate_transformation_mode="asymmetric", nearest_mode="floor",
                )  # fmt: skip
            case "split" if channels % 2 == 0:
                parts = self.constant(np.array([channels // 2] * 2, np.int64))
                name = f"t{len(self.nodes)}"
                self.nodes.append(node("Split", f"{source} {parts}", f"{name} {name}b", axis=1))
                half = (channels // 2, height, width)
                self.images += [(name, half), (f"{name}b", half)]
            case "transpose":
                self.add("Transpose", source, (channels, width, height), perm=[0, 1, 3, 2])
            case "softmax":
                self.add("Softmax", source, shape, axis=1)
            case "pad":
                pads = self.constant(np.array([0, 0, 1, 0, 0, 0, 0, 2]))
                self.add("Pad", f"{source} {pads}", (channels, height + 1, width + 2))
            case "squeeze-and-excite":
                gate, small = self.add("GlobalAveragePool", source, (channels, 1, 1))
                self.conv(gate, small, channels, 1)
                gate = self.add("HardSigmoid", self.images[-1][0], small, alpha=1 / 6)[0]
                self.add("Mul", f"{source} {gate}", shape)
            case "deconv" if max(height, width) < 16:
                names = f"{source} {self.weights(channels, 4, 2, 2)}"
                self.add("ConvTranspose", names, (4, 2 * height, 2 * width), strides=[2, 2])

    def finish(self) -> bytes:
        read = {name for one in self.nodes for name in one.input}
        made = [name for one in self.nodes for name in one.output]
        ends = [name for name in made if name not in read]
        return net(
            self.nodes,
            inputs={"x": [1, 4, 8, 8]},
            outputs={name: ["a", "b", "c", "d"] for name in ends},
            constants=self.constants,
        )


@settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(
    st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9)),
        min_size=3, max_size=12,
    )
)  # fmt: skip
def test_random_networks_agree(steps: list[tuple[str, int, int]]) -> None:
    make = _Net()
    make.conv("x", (4, 8, 8), 6, 1)
    for kind, back, second in steps:
        make.step(kind, max(len(make.images) - 1 - back // 3, 0), second)
    make.conv(*make.images[-1], 5, 1)
    graph = import_model(make.finish())
    samples = feeds("x", 1, 4, 8, 8, count=4)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)
    simulation = Simulation(graph, plan)
    files = (
        OrtModel(write_onnx_int8(graph, plan)),
        OrtModel(write_onnx_int8(graph, plan), optimize=False),
        TfliteRunner(lower_to_tflite(graph, plan)),
    )

    for sample in samples:
        exact = simulation.run(sample)
        for file in files:
            for name, found in file.run(sample).items():
                wanted = as_floats(exact[name])
                spread = float(np.abs(wanted).max(initial=0.05))  # below, differences cancel
                apart = np.abs(as_floats(found) - wanted)
                # One step of 256 may grow on its way through steep functions and many layers.
                assert float(apart.mean()) <= spread / 40
                assert np.mean(apart <= spread / 10) >= 0.97
