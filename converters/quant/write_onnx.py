"""Write a quantized ONNX file: quantize/dequantize pairs around float operators (QDQ).

Every runtime that knows QDQ fuses the pairs into integer kernels; one that does not still
computes the right numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from converters.arrays import Array
from converters.graph import Graph, Node, fresh_name, rename_inputs, tensor_names
from converters.onnx_format import serialize
from converters.quant.expansion import expand
from converters.quant.plan import Grid, QuantPlan
from edgeops.errors import UnsupportedModelError

ActivationType = Literal["uint8", "int8"]

_UNSIGNED_SHIFT: Final = 128

_REQUANTIZED_BY_ORT: Final = frozenset({"Conv", "ConvTranspose", "Gemm"})
"""Layers that ONNX Runtime quantizes by itself, and per tensor, when it finds them in float
between a DequantizeLinear and a QuantizeLinear (its WeightBiasQuantization pass): the very
layers that were kept float because that ruins them. It leaves them alone where the
dequantization before them is per channel."""


def write_onnx_int8(
    graph: Graph, plan: QuantPlan, *, activations: ActivationType = "uint8"
) -> bytes:
    """Return the ONNX file that computes ``graph`` as ``plan`` says.

    Args:
        graph: The float graph that the plan was made for.
        plan: Grids and float islands.
        activations: ``uint8`` is what ONNX Runtime is fast with on x86, ``int8`` on ARM;
            the real numbers are the same. Weights are int8 in both.

    Raises:
        UnsupportedModelError: The plan has 16-bit activations.
    """
    if plan.activations != "int8":
        raise UnsupportedModelError(
            node="model",
            operator="int16x8",
            reason="ONNX Runtime has no kernels for 16-bit activations and 8-bit weights",
            suggestion="write int16x8 for TFLite, or int8",
        )
    expanded, steps = expand(graph, plan)
    return serialize(insert_pairs(expanded, steps, activations=activations))


def insert_pairs(graph: Graph, plan: QuantPlan, *, activations: ActivationType = "uint8") -> Graph:
    """Return ``graph`` with a quantize/dequantize pair at every tensor on a grid.

    A tensor made by an integer node is replaced by its dequantized form for all readers,
    because that is all there is in the integer kernel's output. One made by a float node
    stays for float readers.
    """
    writer = _Writer(activations, set(tensor_names(graph)), dict(graph.constants))
    shields: dict[str, str] = {}
    views: dict[str, str] = {}
    for name in graph.inputs:
        if name in plan.tensors:
            views[name] = writer.pair(name, f"{name}_grid", plan.tensors[name])
    for node in graph.nodes:
        integer = node.name in plan.quantized
        if integer:
            for name in node.inputs:
                if name in graph.constants and name in plan.tensors and name not in views:
                    views[name] = writer.constant(name, plan.tensors[name])
            node = rename_inputs((node,), views)[0]  # noqa: PLW2901 - the node as written
        elif node.op in _REQUANTIZED_BY_ORT and node.inputs[0] in writer.stored:
            source = node.inputs[0]
            if source not in shields:
                shields[source] = writer.shielded(source, graph.shape(source))
            inputs = (shields[source], *node.inputs[1:])
            node = replace(node, inputs=inputs)  # noqa: PLW2901 - the node as written
        writer.node(node, plan.tensors, integer=integer, views=views)
    used = {name for node in writer.nodes for name in node.inputs}
    constants = {n: v for n, v in writer.constants.items() if n in used or n in graph.outputs}
    return replace(graph, nodes=tuple(writer.nodes), constants=constants)


@dataclass(slots=True)
class _Writer:
    """Collects nodes and constants of the file in the making."""

    activations: ActivationType
    taken: set[str]
    constants: dict[str, Array]
    nodes: list[Node] = field(default_factory=list)
    stored: dict[str, tuple[str, Grid]] = field(default_factory=dict)
    numbers: dict[tuple[Grid, bool], tuple[str, str]] = field(default_factory=dict)

    def node(
        self, node: Node, grids: Mapping[str, Grid], *, integer: bool, views: dict[str, str]
    ) -> None:
        """Add ``node`` with the pairs behind those of its outputs that lie on a grid."""
        outputs = list(node.outputs)
        pairs: list[tuple[str, str, Grid]] = []
        for index, name in enumerate(node.outputs):
            if name not in grids:
                continue
            if integer:
                outputs[index] = self._fresh(f"{name}_real")
                pairs.append((outputs[index], name, grids[name]))
            else:
                views[name] = self._fresh(f"{name}_grid")
                pairs.append((name, views[name], grids[name]))
        self.nodes.append(replace(node, outputs=tuple(outputs)))
        for source, result, grid in pairs:
            self._pair(source, result, grid)

    def pair(self, source: str, wish: str, grid: Grid) -> str:
        """Add a pair behind ``source`` and return the name of its result."""
        result = self._fresh(wish)
        self._pair(source, result, grid)
        return result

    def shielded(self, tensor: str, shape: tuple[int, ...]) -> str:
        """Return ``tensor`` dequantized once more, per channel with one and the same scale."""
        axis = max(range(len(shape)), key=lambda i: shape[i])
        middle, grid = self.stored[tensor]
        spread = replace(
            grid,
            scale=grid.scale * shape[axis],
            zero_point=grid.zero_point * shape[axis],
            axis=axis,
        )
        result = self._fresh(f"{tensor}_shielded")
        scale, zero_point = self._numbers(result, spread, shifted=True)
        self.nodes.append(
            Node(
                name=self._fresh(f"{tensor}_shield"),
                op="DequantizeLinear",
                inputs=(middle, scale, zero_point),
                outputs=(result,),
                attributes={"axis": axis},
            )
        )
        return result

    def constant(self, name: str, grid: Grid) -> str:
        """Store a constant in integers and return the name of its real form."""
        stored = self._fresh(f"{name}_quantized")
        weight = grid.symmetric or grid.dtype == "int32"
        value = grid.quantize(self.constants[name])
        self.constants[stored] = value if weight else self._spell(value)
        result = self._fresh(f"{name}_grid")
        scale, zero_point = self._numbers(name, grid, shifted=not weight)
        self.nodes.append(
            Node(
                name=self._fresh(f"{name}_dequantize"),
                op="DequantizeLinear",
                inputs=(stored, scale, zero_point),
                outputs=(result,),
                attributes={} if grid.axis is None else {"axis": grid.axis},
            )
        )
        return result

    def _pair(self, source: str, result: str, grid: Grid) -> None:
        middle = self._fresh(f"{source}_quantized")
        self.stored[result] = (middle, grid)
        scale, zero_point = self._numbers(source, grid, shifted=True)
        quantize = Node(
            name=self._fresh(f"{source}_quantize"),
            op="QuantizeLinear",
            inputs=(source, scale, zero_point),
            outputs=(middle,),
        )
        dequantize = Node(
            name=self._fresh(f"{source}_dequantize"),
            op="DequantizeLinear",
            inputs=(middle, scale, zero_point),
            outputs=(result,),
        )
        self.nodes += [quantize, dequantize]

    def _numbers(self, tensor: str, grid: Grid, *, shifted: bool) -> tuple[str, str]:
        """Return the names of scale and zero point; equal grids share them."""
        key = (grid, shifted)
        if key not in self.numbers:
            scale, zero_point = self._fresh(f"{tensor}_scale"), self._fresh(f"{tensor}_zero_point")
            shape = () if grid.axis is None else (len(grid.scale),)
            zeros = np.asarray(grid.zero_point, np.int64).reshape(shape)
            self.constants[scale] = np.asarray(grid.scale, np.float32).reshape(shape)
            self.constants[zero_point] = self._spell(zeros) if shifted else zeros.astype(grid.dtype)
            self.numbers[key] = (scale, zero_point)
        return self.numbers[key]

    def _spell(self, stored: Array) -> Array:
        """Return int8 activations in the type of this file."""
        if self.activations == "int8":
            return stored.astype(np.int8)
        return (stored.astype(np.int64) + _UNSIGNED_SHIFT).astype(np.uint8)

    def _fresh(self, wish: str) -> str:
        name = fresh_name(wish, self.taken)
        self.taken.add(name)
        return name
