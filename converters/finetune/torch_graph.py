"""A graph that PyTorch can differentiate: the same nodes, with trainable weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from converters.arrays import Array, Feeds
from converters.finetune.fake_quantization import FakeQuantization
from converters.finetune.torch_operators import OPERATORS
from converters.graph import Graph

_TRAINED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class TorchGraph:
    """Computes a graph, node by node.

    Args:
        graph: A normalised float graph.
        rounding: Stands in for int8 on the way forward; ``None`` for plain float.

    Raises:
        UnsupportedModelError: A node cannot be trained through; the error names it.
        ConversionError: No layer has weights to train.
    """

    def __init__(self, graph: Graph, rounding: FakeQuantization | None = None) -> None:
        for node in graph.nodes:
            if node.op not in OPERATORS or node.domain:
                raise node.refuse("training cannot go through this operator")
        trained = {
            name
            for node in graph.nodes
            if node.op in _TRAINED
            for name in node.inputs[1:3]
            if name in graph.constants and graph.constants[name].dtype == np.float32
        }
        self._graph = graph
        self._rounding = rounding
        self.constants: dict[str, torch.Tensor] = {
            name: torch.tensor(np.array(value), requires_grad=name in trained)
            for name, value in sorted(graph.constants.items())
        }
        self.parameters: dict[str, torch.Tensor] = {
            name: self.constants[name] for name in sorted(trained)
        }

    def run(self, feeds: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> list[torch.Tensor]:
        """Return the tensors ``wanted`` for one batch."""
        values: dict[str, torch.Tensor] = {**self.constants, **feeds}
        for node in self._graph.nodes:
            inputs = [values[name] for name in node.inputs if name]
            if self._rounding is not None:
                inputs = self._rounding.inputs(node, inputs, self.parameters)
            found = OPERATORS[node.op](node, inputs, self._graph)
            results = found if isinstance(found, tuple) else (found,)
            values.update(zip(node.outputs, results, strict=False))
        return [values[name] for name in wanted]

    def snapshot(self) -> dict[str, Array]:
        """Return a copy of the present weights and biases."""
        return {name: value.detach().numpy().copy() for name, value in self.parameters.items()}

    def written(self, weights: Mapping[str, Array]) -> Graph:
        """Return the graph with ``weights``, a result of ``snapshot``."""
        return replace(self._graph, constants={**self._graph.constants, **weights})


def to_torch(samples: Sequence[Feeds]) -> dict[str, torch.Tensor]:
    """Return samples as one batch along the first axis."""
    return {
        name: torch.from_numpy(np.concatenate([np.asarray(feeds[name]) for feeds in samples]))
        for name in samples[0]
    }
