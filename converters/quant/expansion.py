"""Write integer nodes without a fast kernel of their own as several that have one.

Both writers and the simulation expand a plan in the same way, so that all files still
compute the same steps. Done after planning: a node that stays float stays one node.

TFLite's int8 HARD_SWISH is a portable kernel that splits an accelerated graph in two; three
accelerated ones are several times faster. The clip between 0 and 1 needs no kernel at all:
the gate's grid ends there.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Graph, Node, TensorType, fresh_name, tensor_names
from converters.quant.operators import GATE
from converters.quant.plan import Grid, QuantPlan, asymmetric_grid

_HARD_SWISH: Final = (1 / 6, 0.5)
_HARD_SIGMOID: Final = (0.2, 0.5)
"""Slope and offset before the clip, by ONNX's definition; HardSigmoid's are defaults."""

_MAX_RATIO: Final = 100.0
"""Sums are rescaled by less than this: portable kernels cut results off at 16 bits, and then add
the zero point, which would turn the largest numbers into the smallest."""

_REACH: Final = 20.0
"""Products beyond this are clipped by the gate, whatever the offset, see ``MAX_GATE_OFFSET``."""


def expand(graph: Graph, plan: QuantPlan) -> tuple[Graph, QuantPlan]:
    """Return graph and plan with every integer HardSwish and HardSigmoid in primitive steps.

    ``gate = clip(slope * x + offset, 0, 1)`` and, for HardSwish, ``y = x * gate``.
    """
    work = _Expansion(graph, plan)
    for node in graph.nodes:
        if node.name in plan.quantized and not node.domain and node.op in _EXPANDED:
            work.expand(node)
        else:
            work.nodes.append(node)
    return work.finish()


_EXPANDED: Final = frozenset({"HardSwish", "HardSigmoid"})


class _Expansion:
    """The graph and the plan in the making."""

    def __init__(self, graph: Graph, plan: QuantPlan) -> None:
        self.nodes: list[Node] = []
        self._graph = graph
        self._plan = plan
        self._taken = tensor_names(graph)
        self._constants: dict[str, Array] = dict(graph.constants)
        self._types = dict(graph.types)
        self._grids = dict(plan.tensors)
        self._quantized = set(plan.quantized)

    def expand(self, node: Node) -> None:
        source, result = node.inputs[0], node.outputs[0]
        grid = self._grids[source]
        slope, offset = _coefficients(node)
        # The product's grid has the same steps, so it is exact.
        scaled = replace(grid, scale=(float(np.float32(grid.scale[0] * slope)),))
        if scaled.scale[0] > _MAX_RATIO * GATE.scale[0]:
            scaled = asymmetric_grid(-_REACH, _REACH)
        inner = self._tensor(f"{result}_scaled", source, scaled)
        self._step(node, "Mul", (source, self._number(f"{result}_slope", slope)), inner)
        gate = result if node.op == "HardSigmoid" else self._tensor(f"{result}_gate", source, GATE)
        self._step(node, "Add", (inner, self._number(f"{result}_offset", offset)), gate)
        if node.op == "HardSwish":
            self._step(node, "Mul", (source, gate), result)

    def finish(self) -> tuple[Graph, QuantPlan]:
        if len(self.nodes) == len(self._graph.nodes):
            return self._graph, self._plan
        graph = replace(
            self._graph, nodes=tuple(self.nodes), constants=self._constants, types=self._types
        )
        plan = replace(
            self._plan,
            tensors=dict(sorted(self._grids.items())),
            quantized=frozenset(self._quantized),
        )
        return graph, plan

    def _step(self, node: Node, op: str, inputs: tuple[str, str], output: str) -> None:
        # The last step keeps the node's name.
        last = output == node.outputs[0]
        name = node.name if last else self._fresh(f"{node.name}_{op.lower()}")
        self._quantized.add(name)
        self.nodes.append(Node(name=name, op=op, inputs=inputs, outputs=(output,)))

    def _tensor(self, wish: str, like: str, grid: Grid) -> str:
        name = self._fresh(wish)
        self._types[name] = TensorType(self._graph.dtype(like), self._graph.shape(like))
        self._grids[name] = grid
        return name

    def _number(self, wish: str, value: float) -> str:
        name = self._fresh(wish)
        self._constants[name] = np.asarray(value, np.float32)
        self._grids[name] = asymmetric_grid(min(value, 0.0), max(value, 0.0))
        return name

    def _fresh(self, wish: str) -> str:
        name = fresh_name(wish, self._taken)
        self._taken.add(name)
        return name


def _coefficients(node: Node) -> tuple[float, float]:
    if node.op == "HardSwish":
        return _HARD_SWISH
    slope, offset = (
        node.attributes.get(name, default)
        for name, default in zip(("alpha", "beta"), _HARD_SIGMOID, strict=True)
    )
    return float(np.asarray(slope).item()), float(np.asarray(offset).item())
