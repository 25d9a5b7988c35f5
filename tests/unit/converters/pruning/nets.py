"""Nets for pruning: graphs built node by node, and the masked original to compare with."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnx.helper

from converters.arrays import Array, Feeds, as_floats
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.pruning.groups import ChannelMap, live
from tests.unit.converters.nets import Shape, floats, net


class NetBuilder:
    """Builds a net layer by layer; every weight is random and fixed by its place."""

    def __init__(self, *shape: int) -> None:
        self._input = shape
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}

    def constant(self, value: Array) -> str:
        name = f"k{len(self._constants)}"
        self._constants[name] = value
        return name

    def random(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant(floats(len(self._constants) + 1, *shape, scale=scale))

    def add(
        self, op: str, inputs: str, output: str = "", **attributes: float | str | list[int]
    ) -> str:
        result = output or f"t{len(self._nodes)}"
        name = f"n{len(self._nodes)}"
        # two blanks in a row leave an input out
        self._nodes.append(
            onnx.helper.make_node(op, inputs.split(" "), result.split(), name=name, **attributes)
        )
        return result.split()[0]

    def conv(
        self,
        source: str,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        group: int = 1,
        stride: int = 1,
    ) -> str:
        weights = self.random(outputs, inputs // group, kernel, kernel)
        bias = self.random(outputs)
        return self.add(
            "Conv", f"{source} {weights} {bias}", kernel_shape=[kernel] * 2, group=group,
            strides=[stride] * 2, pads=[kernel // 2] * 4,
        )  # fmt: skip

    def dense(self, source: str, inputs: int, outputs: int, output: str = "") -> str:
        weights, bias = self.random(outputs, inputs), self.random(outputs)
        return self.add("Gemm", f"{source} {weights} {bias}", output, transB=1)

    def graph(self, outputs: Mapping[str, Shape]) -> Graph:
        return import_model(
            net(
                self._nodes,
                inputs={"x": list(self._input)},
                outputs=outputs,
                constants=self._constants,
            )
        )


def answer(graph: Graph, feeds: Feeds) -> dict[str, Array]:
    return OrtModel(serialize(graph), optimize=False).run(feeds)


def masked(graph: Graph, channels: ChannelMap, removed: frozenset[int]) -> Graph:
    """Return the original with zeros wherever the pruned graph has nothing."""
    constants = dict(graph.constants)
    for cut in channels.cuts:
        keep = live(cut.ids, removed)
        shape = [1] * constants[cut.constant].ndim
        shape[cut.axis] = len(keep)
        value = constants[cut.constant]
        constants[cut.constant] = value * keep.reshape(shape).astype(value.dtype)
    return replace(graph, constants=constants)


def every_other(channels: ChannelMap) -> frozenset[int]:
    """Return every second channel of every group that has two or more."""
    return frozenset(c for group in channels.groups for c in group.channels[1::2])


def assert_same_function(graph: Graph, smaller: Graph, reference: Graph) -> None:
    (name,) = graph.inputs
    feeds: Feeds = {name: floats(77, *graph.shape(name))}
    wanted, found = answer(reference, feeds), answer(smaller, feeds)
    assert list(wanted) == list(found)
    for output, value in wanted.items():
        np.testing.assert_allclose(as_floats(found[output]), as_floats(value), rtol=1e-4, atol=1e-4)
