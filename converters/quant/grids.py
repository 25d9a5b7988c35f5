"""Choose the grid of every activation that integer nodes touch."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np

from converters.graph import Graph, Node
from converters.quant.observe import Range
from converters.quant.operators import INTEGER_FORMS, WEIGHTED, fixed_grid, gridded_inputs
from converters.quant.plan import ActivationForm, Grid, activation_grid

JOINED_MAX_RATIO: Final = 4.0
"""Tensors that a kernel joins or compares share one grid unless the finest would lose more
than two bits; the others are requantized for the kernel."""

MAX_RATIO: Final = 60.0
"""As ``MAX_MULTIPLIER`` for sums and functions of one element: portable kernels cut them off at
16 bits and then add the zero point, which would turn the largest numbers into the smallest."""

MAX_STEPS: Final = 16000.0
"""Magnitude, in steps of its output's grid, that a sum or product has before its activation
cuts it off: half of 16 bits."""

MAX_MULTIPLIER: Final = 200.0
"""Sums are rescaled by less than this. Kernels refuse 256 and more, and an output's step that
is so much finer than the sum's says nothing: the tensor was (nearly) constant in calibration."""

_ARITHMETIC: Final = frozenset({"Add", "Mul", "Sub"})

_LEVELS: Final = 255
_WEIGHT_LEVELS: Final = 127


class _Classes:
    """Tensors that must share a grid (union-find by name), with what is known of each class."""

    def __init__(self, limits: Mapping[str, Range]) -> None:
        self._parent = {name: name for name in limits}
        self._limits = dict(limits)
        self._fixed: dict[str, Grid] = {}

    def root(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def limit(self, name: str) -> Range:
        return self._limits[self.root(name)]

    def scale(self, name: str) -> float:
        """Return about the scale that the class will get."""
        grid = self.fixed(name)
        return grid.scale[0] if grid is not None else self.limit(name).width / _LEVELS

    def widen(self, name: str, scale: float) -> None:
        """Make the class's range so wide that its scale is ``scale`` at least."""
        limit = self.limit(name)
        if self.fixed(name) is None and limit.width < scale * _LEVELS:
            high = min(limit.low, 0.0) + scale * _LEVELS
            self._limits[self.root(name)] = Range(limit.low, high)

    def fixed(self, name: str) -> Grid | None:
        return self._fixed.get(self.root(name))

    def fix(self, name: str, grid: Grid) -> None:
        self._fixed[self.root(name)] = grid

    def join(self, a: str, b: str) -> None:
        first, second = self.root(a), self.root(b)
        if first == second:
            return
        self._limits[first] = self._limits[first].union(self._limits[second])
        grid = self._fixed.get(first) or self._fixed.get(second)
        self._parent[second] = first
        if grid is not None:
            self._fixed[first] = grid


def activation_grids(
    graph: Graph,
    ranges: Mapping[str, Range],
    chosen: AbstractSet[str],
    fused: Mapping[str, str],
    activations: ActivationForm,
) -> dict[str, Grid]:
    """Return the grid of every activation of the nodes ``chosen``.

    Args:
        graph: The float graph.
        ranges: Calibrated range of every float tensor.
        chosen: Names of the integer nodes.
        fused: Layer -> the activation that runtimes compute within it; the tensor between
            the two has no grid.
        activations: Integer type.
    """
    integer = [node for node in graph.nodes if node.name in chosen]
    names = _gridded(integer, chosen, fused)
    classes = _Classes({name: _range_of(graph, ranges, name) for name in names})
    for node in integer:
        prescribed = fixed_grid(node.op, activations)
        if prescribed is not None:
            classes.fix(node.outputs[0], prescribed)
        elif INTEGER_FORMS[node.op].rule == "same":
            for output in node.outputs:
                if output:
                    classes.join(node.inputs[0], output)
    for node in integer:
        if INTEGER_FORMS[node.op].rule == "joined":
            _join_inputs(classes, node)
    made = {node.name: node.outputs for node in graph.nodes}
    known = set(names)
    for node in integer:
        if not known.issuperset(gridded_inputs(node)):
            continue  # an activation that the layer before it computes
        follower = fused.get(node.name, "")
        finest = _step_of_sum(graph, node, classes) / _max_multiplier(node)
        if node.op in _ARITHMETIC:
            reach = ranges[node.outputs[0]]
            finest = max(finest, max(abs(reach.low), abs(reach.high)) / MAX_STEPS)
        for output in known.intersection(made[follower if follower in chosen else node.name]):
            classes.widen(output, finest)
    grids: dict[str, Grid] = {}
    for name in names:
        limit = classes.limit(name)
        grids[name] = classes.fixed(name) or activation_grid(limit.low, limit.high, activations)
    return grids


def _step_of_sum(graph: Graph, node: Node, classes: _Classes) -> float:
    """Return the step in which a kernel adds up, before it rescales to the output's grid."""
    scales = [classes.scale(name) for name in gridded_inputs(node)]
    if node.op in WEIGHTED:
        largest = float(np.abs(graph.constants[node.inputs[1]]).max(initial=0.0))
        return scales[0] * largest / _WEIGHT_LEVELS
    return float(np.prod(scales)) if node.op == "Mul" else max(scales)


def _max_multiplier(node: Node) -> float:
    return MAX_MULTIPLIER if node.op in WEIGHTED or node.op == "Mul" else MAX_RATIO


def _join_inputs(classes: _Classes, node: Node) -> None:
    """Let the inputs share the output's grid; those that it would ruin are requantized.

    So are those that would ruin the output: what they have beyond it is never the minimum
    or maximum.
    """
    width = max(classes.limit(name).width for name in node.inputs)
    if node.op != "Concat":
        width = classes.limit(node.outputs[0]).width
    for name in node.inputs:
        own = classes.limit(name).width
        close = own * JOINED_MAX_RATIO >= width and width * JOINED_MAX_RATIO >= own
        if close and classes.fixed(name) is None:
            classes.join(node.outputs[0], name)


def _gridded(
    integer: Iterable[Node], chosen: AbstractSet[str], fused: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the activations that need a grid, in the graph's order."""
    names: dict[str, None] = {}
    inner: set[str] = set()
    for node in integer:
        names |= dict.fromkeys(gridded_inputs(node))
        names |= dict.fromkeys(name for name in node.outputs if name)
        if fused.get(node.name) in chosen:
            inner.add(node.outputs[0])
    return tuple(name for name in names if name not in inner)


def _range_of(graph: Graph, ranges: Mapping[str, Range], name: str) -> Range:
    if name in graph.constants:
        values = graph.constants[name]
        return Range(float(np.min(values, initial=0.0)), float(np.max(values, initial=0.0)))
    return ranges[name]
