"""What an integer file of a plan computes, in NumPy: the reference for every runtime.

Sums are exact integers, and each layer is rescaled to its output's grid once, in real
arithmetic, ties to even. ONNX Runtime and XNNPACK do the same; TFLite's portable kernels
round twice per layer and may end one step off.

Nodes that the plan leaves in float are computed by ONNX Runtime, and so are those that only
move or compare numbers: a float operator moves whole numbers exactly.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from converters.arrays import Array, Feeds, Floats, as_floats
from converters.graph import Graph, Node, TensorType, prune_unused
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.expansion import expand
from converters.quant.kernels import BINARY, UNARY, LayerSum, Reals, Whole
from converters.quant.operators import INTEGER_FORMS, WEIGHTED, clip_bounds
from converters.quant.plan import Grid, QuantPlan
from converters.quant.planner import fused_activations


def simulate(
    graph: Graph, plan: QuantPlan, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
) -> dict[str, Array]:
    """Return the outputs of ``graph`` for one sample, computed as ``plan`` says.

    For many samples make one ``Simulation`` and run it.

    Args:
        graph: The float graph that the plan was made for.
        plan: Grids and float islands.
        feeds: Input name -> tensor in ONNX's layout, float32.
        outputs: Tensors to return; the graph's outputs unless given. A tensor that exists
            only within a fused layer cannot be asked for.

    Raises:
        ConversionError: ONNX Runtime refuses a float node.
        KeyError: A wanted tensor does not exist.
    """
    return Simulation(graph, plan).run(feeds, outputs)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor on a grid: ``q - zero point`` as whole numbers."""

    centred: Floats
    grid: Grid

    def real(self) -> Reals:
        return self.centred.astype(np.float64) * self.grid.scale[0]


class Simulation:
    """A plan made ready to compute samples; see ``simulate``."""

    def __init__(self, graph: Graph, plan: QuantPlan) -> None:
        self._graph, self._plan = expand(graph, plan)
        self._fused = {
            layer: activation
            for layer, activation in fused_activations(self._graph).items()
            if {layer, activation} <= self._plan.quantized
        }
        self._by_name = {node.name: node for node in self._graph.nodes}
        self._skipped = set(self._fused.values())
        self._models: dict[str, OrtModel] = {}
        self._layers: dict[str, LayerSum] = {}

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Return output name -> tensor: real numbers, float32, for one sample."""
        values: dict[str, _Stored | Array] = dict(feeds)
        for node in self._graph.nodes:
            if node.name in self._skipped:
                continue
            if node.name in self._plan.quantized:
                self._integer(node, values)
            else:
                self._float(node, values)
        names = self._graph.outputs if outputs is None else outputs
        return {name: self._real(name, values) for name in names}

    # -- reading -----------------------------------------------------------------------

    def _real(self, name: str, values: Mapping[str, _Stored | Array]) -> Array:
        if name in self._graph.constants:
            return self._graph.constants[name]
        value = values[name]
        return value.real().astype(np.float32) if isinstance(value, _Stored) else value

    def _stored(self, name: str, values: Mapping[str, _Stored | Array], grid: Grid) -> _Stored:
        value = values.get(name)
        if isinstance(value, _Stored) and value.grid == grid:
            return value
        stored = grid.quantize(self._real(name, values)).astype(np.float32)
        return _Stored(as_floats(stored - np.float32(grid.zero_point[0])), grid)

    # -- computing ---------------------------------------------------------------------

    def _integer(self, node: Node, values: dict[str, _Stored | Array]) -> None:
        if node.op in WEIGHTED:
            result = node.outputs[0]
            activation = self._by_name.get(self._fused.get(node.name, ""))
            if activation is not None:
                result = activation.outputs[0]
            values[result] = self._layer(node, values, result, self._bounds(node, activation))
        elif INTEGER_FORMS[node.op].rule in ("same", "joined"):
            self._move(node, values)
        else:
            self._element_wise(node, values)

    def _layer(
        self,
        node: Node,
        values: Mapping[str, _Stored | Array],
        result: str,
        bounds: tuple[float, float],
    ) -> _Stored:
        grids, constants = self._plan.tensors, self._graph.constants
        source = self._stored(node.inputs[0], values, grids[node.inputs[0]])
        weights = grids[node.inputs[1]]
        if node.name not in self._layers:
            self._layers[node.name] = LayerSum(node, weights.quantize(constants[node.inputs[1]]))
        total = self._layers[node.name](source.centred)
        # Channels of the output: axis 1 of images, the last axis of dense layers.
        spread = (-1, 1, 1) if node.op in ("Conv", "ConvTranspose") else (-1,)
        bias = node.optional_input(2)
        if bias:
            stored = grids[bias].quantize(constants[bias]).astype(np.float64)
            total = total + stored.reshape(spread)
        grid = grids[result]
        scale = np.float32(source.grid.scale[0]) * np.asarray(weights.scale, np.float32)
        factor = (scale / np.float32(grid.scale[0])).reshape(spread if scale.size > 1 else (1,))
        if grid.dtype == "int8":  # as the runtimes' kernels: in single precision
            return _on_grid(total.astype(np.float32) * factor, grid, bounds)
        return _on_grid(total * factor.astype(np.float64), grid, bounds)

    def _move(self, node: Node, values: dict[str, _Stored | Array]) -> None:
        """Compute a node whose results are inputs, or means of them, on one grid."""
        grid = self._plan.tensors[node.outputs[0]]
        names = node.inputs if INTEGER_FORMS[node.op].rule == "joined" else node.inputs[:1]
        moved: dict[str, Array] = {}
        for name in dict.fromkeys(names):
            moved[name] = self._stored(name, values, grid).centred
        for name, number in self._run_float(node, moved).items():
            values[name] = _on_grid(as_floats(number), grid, (-np.inf, np.inf))

    def _element_wise(self, node: Node, values: dict[str, _Stored | Array]) -> None:
        grids = self._plan.tensors
        inputs: dict[str, Reals] = {}
        for name in node.inputs:
            if name in grids:
                inputs[name] = self._stored(name, values, grids[name]).real()
        activation = self._by_name.get(self._fused.get(node.name, ""))
        result = node.outputs[0] if activation is None else activation.outputs[0]
        if node.op in UNARY:
            number = UNARY[node.op](inputs[node.inputs[0]])
        elif node.op in BINARY:
            number = BINARY[node.op](inputs[node.inputs[0]], inputs[node.inputs[1]])
        else:
            given: dict[str, Array] = {n: v.astype(np.float32) for n, v in inputs.items()}
            number = self._run_float(node, given)[node.outputs[0]].astype(np.float64)
        grid = grids[result]
        values[result] = _on_grid(number / grid.scale[0], grid, self._bounds(node, activation))

    def _bounds(self, node: Node, activation: Node | None) -> tuple[float, float]:
        acting = activation if activation is not None else node
        return clip_bounds(self._graph, acting) or (-np.inf, np.inf)

    def _float(self, node: Node, values: dict[str, _Stored | Array]) -> None:
        given = {
            name: self._real(name, values)
            for name in node.inputs
            if name and name not in self._graph.constants
        }
        values.update(self._run_float(node, given))

    def _run_float(self, node: Node, given: Mapping[str, Array]) -> dict[str, Array]:
        """Run one node in ONNX Runtime; what ``given`` holds replaces constants."""
        if node.name not in self._models:
            outputs = tuple(name for name in node.outputs if name)
            single = replace(
                self._graph,
                inputs=tuple(given),
                outputs=outputs,
                nodes=(node,),
                constants=_without(self._graph.constants, given),
                types=self._types(given),
            )
            self._models[node.name] = OrtModel(serialize(prune_unused(single)))
        feeds: Feeds = dict(given)
        return self._models[node.name].run(feeds)

    def _types(self, given: Mapping[str, Array]) -> dict[str, TensorType]:
        known = dict(self._graph.types)
        known |= {name: TensorType(value.dtype, value.shape) for name, value in given.items()}
        return known


def _without(constants: Mapping[str, Array], names: Iterable[str]) -> dict[str, Array]:
    left_out = set(names)
    return {name: value for name, value in constants.items() if name not in left_out}


def _on_grid(steps: Whole, grid: Grid, bounds: tuple[float, float]) -> _Stored:
    """Round ``steps`` (real numbers over the grid's scale) and clip them to ``bounds``."""
    low, high = (limit - grid.zero_point[0] for limit in grid.bounds)
    scale = grid.scale[0]
    if np.isfinite(bounds[0]):
        low = max(low, int(np.rint(bounds[0] / scale)))
    if np.isfinite(bounds[1]):
        high = min(high, int(np.rint(bounds[1] / scale)))
    return _Stored(as_floats(np.clip(np.rint(steps), low, high)), grid)
