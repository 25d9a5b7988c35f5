"""Random wirings: removing channels equals zeroing them, whatever is wired to what."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import Graph
from converters.pruning.groups import find_groups
from converters.pruning.shrink import shrink
from tests.unit.converters.pruning.nets import NetBuilder, assert_same_function, masked

UNARY = ("Relu", "Sigmoid", "HardSwish", "Neg", "Tanh")


class Drawn:
    """A net that grows by drawn steps; every tensor is an 8 x 8 image."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.builder = NetBuilder(1, 3, 8, 8)
        self.widths = {self.builder.conv("x", 3, width): width for width in (4, 4, 6)}

    def grow(self) -> None:
        source = self._draw(st.sampled_from(list(self.widths)[-3:]))
        width = self.widths[source]
        step = self._draw(
            st.sampled_from(
                ["conv", "depthwise", "grouped", "unary", "join", "add", "gate", "cut", "swap"]
            )
        )
        b = self.builder
        if step == "conv":
            wide = self._draw(st.sampled_from([1, 4, 6]))
            self.widths[b.conv(source, width, wide, kernel=self._draw(st.sampled_from([1, 3])))] = (
                wide
            )
        elif step == "depthwise":
            self.widths[b.conv(source, width, width, group=width)] = width
        elif step == "grouped" and width % 2 == 0:
            self.widths[b.conv(source, width, 4, group=2)] = 4
        elif step == "unary":
            self.widths[b.add(self._draw(st.sampled_from(UNARY)), source)] = width
        elif step == "join":
            other = self._draw(st.sampled_from(sorted(self.widths)))
            joined = b.add("Concat", f"{source} {other}", axis=1)
            self.widths[joined] = width + self.widths[other]
        elif step == "add":
            same = sorted(name for name, size in self.widths.items() if size == width)
            other = self._draw(st.sampled_from(same))
            self.widths[b.add("Add", f"{source} {other}")] = width
        elif step == "gate":
            scale = b.conv(b.add("GlobalAveragePool", source), width, width, kernel=1)
            self.widths[b.add("Mul", f"{source} {scale}")] = width
        elif step == "cut" and width > 1:
            first = self._draw(st.integers(1, width - 1))
            sizes = b.constant(np.asarray([first, width - first], np.int64))
            names = f"{source}_l {source}_r{len(self.widths)}"
            if names.split(maxsplit=1)[0] not in self.widths:
                b.add("Split", f"{source} {sizes}", names, axis=1)
                left, right = names.split()
                self.widths |= {left: first, right: width - first}
        elif step == "swap":
            order = self._draw(st.permutations(range(width)))
            indices = b.constant(np.asarray(order, np.int64))
            self.widths[b.add("Gather", f"{source} {indices}", axis=1)] = width

    def finish(self) -> Graph:
        ends = list(self.widths)[-3:]
        joined = self.builder.add("Concat", " ".join(ends), axis=1)
        flat = self.builder.add("Flatten", self.builder.add("GlobalMaxPool", joined), axis=1)
        self.builder.dense(flat, sum(self.widths[name] for name in ends), 2, "y")
        return self.builder.graph({"y": [1, 2]})


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    net = Drawn(draw)
    for _ in range(draw(st.integers(2, 9))):
        net.grow()
    return net.finish()


@settings(max_examples=120, deadline=None, derandomize=True)
@given(graph=graphs(), seed=st.integers(0, 99))
def test_removing_equals_zeroing(graph: Graph, seed: int) -> None:
    channels = find_groups(graph)
    rng = np.random.default_rng(seed)
    removed = frozenset(
        channel
        for group in channels.groups
        for channel in rng.permutation(group.channels)[1:].tolist()
        if rng.random() < 0.5
    )

    smaller = shrink(graph, channels, removed)

    assert_same_function(graph, smaller, masked(graph, channels, removed))
    for name in graph.outputs:
        assert smaller.shape(name) == graph.shape(name)
