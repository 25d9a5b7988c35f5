"""What quantization knows about each operator; everything else stays float."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from converters.graph import Graph, Node
from converters.onnx_format import elements
from converters.quant.operator_forms import form_refusal
from converters.quant.plan import ActivationForm, Grid

GridRule = Literal["calibrated", "same", "joined", "fixed"]
"""Where an output's grid comes from: its own range, the input's grid, one grid for all
inputs and the output, or a grid that the kernels prescribe."""


@dataclass(frozen=True, slots=True)
class IntegerForm:
    """How an operator computes in integers.

    Attributes:
        rule: Where the output's grid comes from.
        int16: Whether both TFLite runtimes have a kernel for 16-bit activations.
        condition: What must hold, in words; empty where nothing special must.
    """

    rule: GridRule
    int16: bool = True
    condition: str = ""


_CONSTANT: Final = "constant weights"

INTEGER_FORMS: Final[Mapping[str, IntegerForm]] = {
    "Add": IntegerForm("calibrated"),
    "AveragePool": IntegerForm("same"),
    "Clip": IntegerForm("calibrated", condition="bounds of a ReLU, ReLU6 or -1 to 1"),
    "Concat": IntegerForm("joined", condition="inputs share a grid unless it would ruin one"),
    "Conv": IntegerForm("calibrated", condition=f"{_CONSTANT}, two-dimensional"),
    "ConvTranspose": IntegerForm(
        "calibrated", condition=f"{_CONSTANT}, two-dimensional, one group"
    ),
    "DepthToSpace": IntegerForm("same", int16=False),
    "Flatten": IntegerForm("same"),
    "Gather": IntegerForm("same", condition="constant indices"),
    "Gemm": IntegerForm("calibrated", condition=_CONSTANT),
    "GlobalAveragePool": IntegerForm("calibrated"),
    "HardSigmoid": IntegerForm("fixed", int16=False, condition="rising"),
    "HardSwish": IntegerForm("calibrated", int16=False),
    "Identity": IntegerForm("same"),
    "LeakyRelu": IntegerForm("calibrated"),
    "MatMul": IntegerForm("calibrated", condition="second factor a constant matrix"),
    "Max": IntegerForm("joined", int16=False, condition="two inputs"),
    "MaxPool": IntegerForm("same", condition="not dilated, values alone"),
    "Min": IntegerForm("joined", int16=False, condition="two inputs"),
    "Mul": IntegerForm("calibrated"),
    "PRelu": IntegerForm("calibrated", int16=False, condition="constant slopes"),
    "Pad": IntegerForm("same", condition="with zeros"),
    "ReduceMean": IntegerForm("calibrated", condition="constant axes"),
    "Relu": IntegerForm("calibrated"),
    "Reshape": IntegerForm("same"),
    "Resize": IntegerForm("same", int16=False, condition="nearest or linear"),
    "Sigmoid": IntegerForm("fixed"),
    "Slice": IntegerForm("same"),
    "Softmax": IntegerForm("fixed"),
    "SpaceToDepth": IntegerForm("same", int16=False),
    "Split": IntegerForm("same"),
    "Squeeze": IntegerForm("same"),
    "Sub": IntegerForm("calibrated"),
    "Tanh": IntegerForm("fixed"),
    "Transpose": IntegerForm("same"),
    "Unsqueeze": IntegerForm("same"),
}
"""Every operator with an integer form, by name."""

WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Layers with constant weights: nearly all the arithmetic of a network."""

RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN"})
"""Layers whose weights may be stored smaller, while their activations stay float."""

SAME_GRID: Final = frozenset(n for n, f in INTEGER_FORMS.items() if f.rule == "same")
"""Output values lie within the input's range, and TFLite's kernels demand equal grids."""

CHANNEL_AXIS: Final = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": 1}
"""The axis of a layer's weights, in ONNX's order, that counts its outputs."""

_FIXED_INT8: Final = {
    "HardSigmoid": Grid(scale=(float(np.float32(1 / 255)),), zero_point=(-128,)),
    "Sigmoid": Grid(scale=(1 / 256,), zero_point=(-128,)),
    "Softmax": Grid(scale=(1 / 256,), zero_point=(-128,)),
    "Tanh": Grid(scale=(1 / 128,), zero_point=(0,)),
}

_FIXED_INT16: Final = dict.fromkeys(
    ("Sigmoid", "Softmax", "Tanh"), Grid(scale=(1 / 32768,), zero_point=(0,), dtype="int16")
)

_SEVERAL_INPUTS: Final = frozenset({"Add", "Sub", "Mul", "Max", "Min", "Concat", "PRelu"})


def integer_operators() -> Mapping[str, str]:
    """Return operator -> condition in words, of all that can compute in integers."""
    return {name: form.condition for name, form in sorted(INTEGER_FORMS.items())}


def fixed_grid(op: str, activations: ActivationForm) -> Grid | None:
    """Return the output grid that the kernels of ``op`` prescribe, if they do."""
    return (_FIXED_INT8 if activations == "int8" else _FIXED_INT16).get(op)


GATE: Final = _FIXED_INT8["HardSigmoid"]
"""Grid of the gate inside HardSwish: holds 0 and 1 exactly and saturates there."""


def gridded_inputs(node: Node) -> tuple[str, ...]:
    """Return the inputs of an integer node that need an activation's grid."""
    names = node.inputs if node.op in _SEVERAL_INPUTS else node.inputs[:1]
    return tuple(name for name in names if name)


def multiply_accumulates(graph: Graph, node: Node) -> int:
    """Return how many multiply-accumulates ``node`` takes for one inference."""
    if node.domain or node.op not in WEIGHTED | RECURRENT:
        return 0
    # Of a recurrent layer both matrices count, and no output, for any may be left out.
    known = node.inputs[:3] if node.op in RECURRENT else (*node.inputs[:2], node.outputs[0])
    if not all(graph.has_type(name) for name in known):
        return 0
    if node.op in RECURRENT:
        steps_and_batch = elements(graph.shape(node.inputs[0])[:2])
        return steps_and_batch * sum(elements(graph.shape(name)) for name in node.inputs[1:3])
    weights = graph.shape(node.inputs[1])
    if node.op == "Conv":
        return elements(graph.shape(node.outputs[0])) * elements(weights[1:])
    if node.op == "ConvTranspose":
        return elements(graph.shape(node.inputs[0])) * elements(weights[1:])
    inner = graph.shape(node.inputs[0])[-1]
    return elements(graph.shape(node.outputs[0])) * inner


def clip_bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Return the bounds of a Relu or Clip with constant bounds, else ``None``."""
    if node.domain:
        return None
    if node.op == "Relu":
        return 0.0, np.inf
    if node.op != "Clip":
        return None
    low, high = node.optional_input(1), node.optional_input(2)
    if any(name and name not in graph.constants for name in (low, high)):
        return None
    return (
        float(graph.constants[low].item()) if low else -np.inf,
        float(graph.constants[high].item()) if high else np.inf,
    )


FUSABLE_BOUNDS: Final = frozenset({(0.0, np.inf), (0.0, 6.0), (-1.0, 1.0)})
"""Activations that integer kernels of both runtimes compute inside the layer before."""


def can_be_integer(graph: Graph, node: Node, activations: ActivationForm = "int8") -> str:
    """Return an empty text if ``node`` has an integer form, else the reason why not."""
    form = INTEGER_FORMS.get(node.op)
    if node.domain or form is None:
        return "the operator stays float"
    if activations == "int16" and not form.int16:
        return "the operator has no kernel for 16-bit activations"
    named = (*node.inputs[:1], *(name for name in node.outputs if name))
    if any(not graph.has_type(name) for name in named):
        return "its shape is not known"
    if any(graph.dtype(name) != np.float32 for name in named):
        return "its tensors are not float32"
    if node.op == "Clip" and clip_bounds(graph, node) not in FUSABLE_BOUNDS:
        return "integer kernels know no such bounds"
    return form_refusal(graph, node)
