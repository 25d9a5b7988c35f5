"""Small networks of the families that devices run, with random weights of sane size."""

import numpy as np
import onnx

from converters.arrays import Array
from tests.unit.converters.nets import floats, net, node

SIZE = 32
CLASSES = 10


class _Builder:
    """Adds layers one behind the other; every tensor keeps about the same spread."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def _name(self) -> str:
        return f"t{len(self.nodes)}"

    def add(self, op: str, inputs: str, **attributes: object) -> str:
        name = self._name()
        self.nodes.append(node(op, inputs, name, "", **attributes))
        return name

    def constant(self, value: Array) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def conv(
        self, source: str, channels: tuple[int, int], *, kernel: int = 3, stride: int = 1,
        group: int = 1,
    ) -> str:  # fmt: skip
        inputs, outputs = channels
        fan = inputs // group * kernel * kernel
        seed = 100 + len(self.nodes)
        weights = floats(seed, outputs, inputs // group, kernel, kernel, scale=(2 / fan) ** 0.5)
        bias = floats(seed + 1000, outputs, scale=0.2)
        names = f"{source} {self.constant(weights)} {self.constant(bias)}"
        pad = kernel // 2
        return self.add(
            "Conv", names, strides=[stride] * 2, pads=[pad] * 4, kernel_shape=[kernel] * 2,
            group=group,
        )  # fmt: skip

    def six(self, source: str) -> str:
        low, high = (self.constant(np.asarray(value, np.float32)) for value in (0, 6))
        return self.add("Clip", f"{source} {low} {high}")

    def head(self, source: str, channels: int) -> bytes:
        pooled = self.add("Flatten", self.add("GlobalAveragePool", source))
        weights = self.constant(floats(7, channels, CLASSES, scale=channels**-0.5 * 2))
        bias = self.constant(floats(8, CLASSES, scale=0.1))
        logits = self.add("Gemm", f"{pooled} {weights} {bias}")
        return net(
            self.nodes,
            inputs={"x": [1, 3, SIZE, SIZE]},
            outputs={logits: [1, CLASSES]},
            constants=self.constants,
        )


def resnet8() -> bytes:
    """Return a residual network: three stages, projections where the size changes."""
    make = _Builder()
    value, channels = make.add("Relu", make.conv("x", (3, 16))), 16
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        first = make.add("Relu", make.conv(value, (channels, outputs), stride=stride))
        second = make.conv(first, (outputs, outputs))
        skip = value
        if stride != 1:
            skip = make.conv(value, (channels, outputs), kernel=1, stride=stride)
        value, channels = make.add("Relu", make.add("Add", f"{second} {skip}")), outputs
    return make.head(value, channels)


def mobilenet_v1() -> bytes:
    """Return depthwise-separable layers in a row."""
    make = _Builder()
    value, channels = make.add("Relu", make.conv("x", (3, 8), stride=2)), 8
    for outputs, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        deep = make.conv(value, (channels, channels), stride=stride, group=channels)
        wide = make.conv(make.add("Relu", deep), (channels, outputs), kernel=1)
        value, channels = make.add("Relu", wide), outputs
    return make.head(value, channels)


def mobilenet_v2() -> bytes:
    """Return inverted residuals with ReLU6 and linear bottlenecks."""
    make = _Builder()
    value, channels = make.six(make.conv("x", (3, 16), stride=2)), 16
    for outputs, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1)):
        inner = channels * 3
        wide = make.six(make.conv(value, (channels, inner), kernel=1))
        deep = make.six(make.conv(wide, (inner, inner), stride=stride, group=inner))
        narrow = make.conv(deep, (inner, outputs), kernel=1)
        same = outputs == channels and stride == 1
        value = make.add("Add", f"{narrow} {value}") if same else narrow
        channels = outputs
    return make.head(make.six(make.conv(value, (channels, 64), kernel=1)), 64)


def mobilenet_v3() -> bytes:
    """Return inverted residuals with HardSwish and squeeze-and-excitation."""
    make = _Builder()
    value, channels = make.add("HardSwish", make.conv("x", (3, 16), stride=2)), 16
    for outputs, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1)):
        inner = channels * 3
        wide = make.add("HardSwish", make.conv(value, (channels, inner), kernel=1))
        deep = make.conv(wide, (inner, inner), stride=stride, group=inner)
        deep = make.add("HardSwish", deep)
        gate = make.add("GlobalAveragePool", deep)
        gate = make.add("Relu", make.conv(gate, (inner, 8), kernel=1))
        gate = make.add("HardSigmoid", make.conv(gate, (8, inner), kernel=1), alpha=1 / 6)
        narrow = make.conv(make.add("Mul", f"{deep} {gate}"), (inner, outputs), kernel=1)
        same = outputs == channels and stride == 1
        value = make.add("Add", f"{narrow} {value}") if same else narrow
        channels = outputs
    return make.head(make.add("HardSwish", make.conv(value, (channels, 64), kernel=1)), 64)


FAMILIES = {
    "resnet8": resnet8,
    "mobilenet-v1": mobilenet_v1,
    "mobilenet-v2": mobilenet_v2,
    "mobilenet-v3": mobilenet_v3,
}
