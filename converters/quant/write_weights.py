"""Smaller ONNX files by their weights alone: float16 storage, or dynamic int8 products.

Neither needs calibration. Convolutions are left in float by the dynamic form: ONNX Runtime
computes dynamically quantized ones several times slower than float ones. So are GRU and RNN,
for which it has no integer kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Attribute, Graph, Node, fresh_name, prune_unused, tensor_names
from converters.onnx_format import serialize
from converters.quant.operators import RECURRENT, WEIGHTED
from converters.quant.weights import weight_grid
from edgeops.errors import ConversionError

_ONNX_FLOAT = 1
"""TensorProto.FLOAT, the target of Cast."""

_WEIGHT_INPUTS: Final[Mapping[str, tuple[int, ...]]] = {
    **dict.fromkeys(WEIGHTED, (1,)),
    **dict.fromkeys(RECURRENT, (1, 2)),
}
_DENSE_INPUTS: Final = 3
"""Input, weights, bias: what a canonical dense layer has."""

_MATRIX_RANK: Final = 2
_LSTM_INPUTS: Final = 8
"""Up to and with the peephole weights; after them stand the scales of the integer form."""

RUNTIME_DOMAIN: Final = "com.microsoft"
"""Operator set of ONNX Runtime's own operators."""


@dataclass(slots=True)
class _Rewrite:
    """A graph in the making: nodes and constants are added, names stay unique."""

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.constants = dict(self.graph.constants)
        self.taken = tensor_names(self.graph)

    def name(self, wish: str) -> str:
        name = fresh_name(wish, self.taken)
        self.taken.add(name)
        return name

    def constant(self, wish: str, value: Array) -> str:
        name = self.name(wish)
        self.constants[name] = value
        return name

    def add(
        self,
        op: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> None:
        """Add a node that is named after its first output."""
        name = self.name(f"{outputs[0]}_{op.lower()}")
        self.nodes.append(
            Node(name=name, op=op, inputs=inputs, outputs=outputs, attributes=attributes or {})
        )

    def finish(self, domains: Mapping[str, int] | None = None) -> bytes:
        changed = replace(
            self.graph,
            nodes=tuple(self.nodes),
            constants=self.constants,
            other_opsets={**self.graph.other_opsets, **(domains or {})},
        )
        return serialize(prune_unused(changed))


def write_onnx_float16(graph: Graph) -> bytes:
    """Return ``graph`` with weights stored in float16 and computed in float32.

    Raises:
        ConversionError: A weight is too large for float16.
    """
    work = _Rewrite(graph)
    for node in graph.nodes:
        inputs = list(node.inputs)
        for index in _WEIGHT_INPUTS.get(node.op, ()) if not node.domain else ():
            name = node.optional_input(index)
            if name in graph.constants and graph.constants[name].dtype == np.float32:
                inputs[index] = _half(work, name)
        work.nodes.append(replace(node, inputs=tuple(inputs)))
    return work.finish()


def _half(work: _Rewrite, name: str) -> str:
    value = work.constants[name]
    if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
        raise ConversionError(f"weights {name!r} are too large for float16")
    half, full = work.constant(f"{name}_half", value.astype(np.float16)), work.name(f"{name}_full")
    work.add("Cast", (half,), (full,), {"to": _ONNX_FLOAT})
    return full


def write_onnx_dynamic(graph: Graph) -> tuple[bytes, frozenset[str]]:
    """Return ``graph`` with dense layers and LSTMs in int8, and the names of those layers.

    A dense layer quantizes its input when it runs:
    ``DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul -> Add``. An LSTM becomes ONNX
    Runtime's DynamicQuantizeLSTM.

    Raises:
        ConversionError: There is no such layer: nothing would be gained.
    """
    work = _Rewrite(graph)
    done: set[str] = set()
    recurrent = False
    for node in graph.nodes:
        rows = _dense_rows(graph, node)
        if rows is not None:
            _dynamic_dense(work, node, rows)
        elif _is_plain_lstm(graph, node):
            _dynamic_lstm(work, node)
            recurrent = True
        else:
            work.nodes.append(node)
            continue
        done.add(node.name)
    if not done:
        raise ConversionError(
            "dynamic-int8 changes dense layers and LSTMs only, and the model has none"
        )
    return work.finish({RUNTIME_DOMAIN: 1} if recurrent else None), frozenset(done)


def _dense_rows(graph: Graph, node: Node) -> Array | None:
    """Return the weights of a dense layer, one row per output, else ``None``."""
    weights = graph.constants.get(node.optional_input(1))
    if node.domain or weights is None or weights.ndim != _MATRIX_RANK:
        return None
    if weights.dtype != np.float32 or node.inputs[0] in graph.constants:
        return None
    if node.op == "MatMul":
        return np.ascontiguousarray(weights.T)
    plain = node.op == "Gemm" and len(node.inputs) == _DENSE_INPUTS
    canonical = dict(node.attributes) == {"transB": 1} and node.inputs[2] in graph.constants
    return weights if plain and canonical else None


def _dynamic_dense(work: _Rewrite, node: Node, rows: Array) -> None:
    def name(what: str) -> str:
        return work.name(f"{node.name}_{what}")

    grid = weight_grid(rows, None, 1.0, 0)
    stored = np.ascontiguousarray(grid.quantize(rows).T)
    weights = work.constant(f"{node.name}_weights", stored)
    scales = work.constant(f"{node.name}_weight_scales", np.asarray(grid.scale, np.float32))
    source, scale, zero = name("input"), name("input_scale"), name("input_zero")
    total, real, both = name("sum"), name("real"), name("scales")
    biased = len(node.inputs) == _DENSE_INPUTS
    product = name("product") if biased else node.outputs[0]
    work.add("DynamicQuantizeLinear", (node.inputs[0],), (source, scale, zero))
    work.add("MatMulInteger", (source, weights, zero), (total,))
    work.add("Cast", (total,), (real,), {"to": _ONNX_FLOAT})
    work.add("Mul", (scale, scales), (both,))
    work.add("Mul", (real, both), (product,))
    if biased:
        work.add("Add", (product, node.inputs[2]), (node.outputs[0],))


def _is_plain_lstm(graph: Graph, node: Node) -> bool:
    """Whether ONNX Runtime's integer LSTM computes what ``node`` says."""
    if node.op != "LSTM" or node.domain or node.attributes.get("layout", 0) != 0:
        return False
    weights = [graph.constants.get(node.optional_input(index)) for index in (1, 2)]
    return all(value is not None and value.dtype == np.float32 for value in weights)


def _dynamic_lstm(work: _Rewrite, node: Node) -> None:
    """Store both matrices transposed in int8, with one scale per direction and gate row."""
    inputs = [node.optional_input(index) for index in range(_LSTM_INPUTS)]
    numbers: list[str] = []
    for index in (1, 2):
        stored: list[Array] = []
        scales: list[tuple[float, ...]] = []
        for rows in work.graph.constants[inputs[index]]:
            grid = weight_grid(np.asarray(rows), None, 1.0, 0)
            stored.append(grid.quantize(np.asarray(rows)).T)
            scales.append(grid.scale)
        wish = f"{node.name}_weights_{index}"
        inputs[index] = work.constant(wish, np.ascontiguousarray(np.stack(stored)))
        scale = np.asarray(scales, np.float32)
        numbers.append(work.constant(f"{wish}_scale", scale))
        numbers.append(work.constant(f"{wish}_zero", np.zeros(scale.shape, np.int8)))
    attributes = {key: value for key, value in node.attributes.items() if key != "layout"}
    work.nodes.append(
        replace(
            node,
            op="DynamicQuantizeLSTM",
            domain=RUNTIME_DOMAIN,
            inputs=(*inputs, *numbers),
            attributes=attributes,
        )
    )
