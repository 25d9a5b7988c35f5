"""Which PyTorch function computes which ONNX operator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from converters.arrays import as_ints
from converters.finetune import torch_layers as layers
from converters.finetune import torch_shapes as shapes
from converters.graph import Graph, Node

Operator: TypeAlias = Callable[
    [Node, Sequence[torch.Tensor], Graph], torch.Tensor | tuple[torch.Tensor, ...]
]


def _plain(run: Callable[..., torch.Tensor]) -> Operator:
    """Return an operator that has no attributes."""

    def compute(_: Node, inputs: Sequence[torch.Tensor], __: Graph) -> torch.Tensor:
        return run(*inputs)

    return compute


def _numbers(run: Callable[..., torch.Tensor], *defaults: tuple[str, float]) -> Operator:
    """Return an operator whose attributes are numbers with ONNX's defaults."""

    def compute(node: Node, inputs: Sequence[torch.Tensor], _: Graph) -> torch.Tensor:
        return run(*inputs, *(node.attributes.get(name, value) for name, value in defaults))

    return compute


def _clip(node: Node, inputs: Sequence[torch.Tensor], _: Graph) -> torch.Tensor:
    bounds = iter(inputs[1:])
    low = next(bounds) if node.optional_input(1) else None
    high = next(bounds) if node.optional_input(2) else None
    return torch.clamp(inputs[0], min=low, max=high)


def _gelu(node: Node, inputs: Sequence[torch.Tensor], _: Graph) -> torch.Tensor:
    return functional.gelu(inputs[0], approximate=node.attributes.get("approximate", "none"))


def _softmax(run: Callable[..., torch.Tensor]) -> Operator:
    def compute(node: Node, inputs: Sequence[torch.Tensor], _: Graph) -> torch.Tensor:
        return run(inputs[0], dim=node.attributes.get("axis", -1))

    return compute


def _reduce(run: Callable[..., torch.Tensor]) -> Operator:
    def reduce(node: Node, inputs: Sequence[torch.Tensor], graph: Graph) -> torch.Tensor:
        stated = node.attributes.get("axes")
        axes = as_ints(np.asarray(stated)) if stated is not None else ()
        axes = axes or shapes.whole_numbers(node, graph, 1)
        if not axes:
            raise node.refuse("a reduction over all axes cannot be trained through")
        return run(inputs[0], axes, bool(node.attributes.get("keepdims", 1)))

    return reduce


def _image_axes(x: torch.Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _prelu(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    return torch.where(x >= 0, x, x * slope)


def _hard_sigmoid(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


OPERATORS: Final[Mapping[str, Operator]] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "AveragePool": layers.average_pool,
    "BatchNormalization": layers.batch_normalization,
    "Clip": _clip,
    "Concat": shapes.concat,
    "Conv": layers.conv,
    "ConvTranspose": layers.conv_transpose,
    "Div": _plain(torch.div),
    "Elu": _numbers(functional.elu, ("alpha", 1.0)),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Flatten": shapes.reshape,
    "Gather": shapes.gather,
    "Gelu": _gelu,
    "Gemm": layers.gemm,
    "GlobalAveragePool": _plain(lambda x: x.mean(dim=_image_axes(x), keepdim=True)),
    "GlobalMaxPool": _plain(lambda x: x.amax(dim=_image_axes(x), keepdim=True)),
    "HardSigmoid": _numbers(_hard_sigmoid, ("alpha", 0.2), ("beta", 0.5)),
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(lambda x: x),
    "LeakyRelu": _numbers(functional.leaky_relu, ("alpha", 0.01)),
    "Log": _plain(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _plain(torch.matmul),
    "Max": _plain(torch.maximum),
    "MaxPool": layers.max_pool,
    "Min": _plain(torch.minimum),
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "PRelu": _plain(_prelu),
    "Pad": shapes.pad,
    "Pow": _plain(torch.pow),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _plain(torch.relu),
    "Reshape": shapes.reshape,
    "Resize": layers.resize,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": shapes.slice_,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _plain(functional.softplus),
    "Split": shapes.split,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": shapes.reshape,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.reshape,
}
