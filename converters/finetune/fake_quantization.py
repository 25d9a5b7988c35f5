"""Rounding to int8 on the way forward that gradients pass as if it were not there.

Source: Jacob et al. 2018, section 3, "Training with simulated quantization".
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from converters.graph import Node

_WEIGHTED: Final = {"Conv": 0, "Gemm": 0}
"""Operators that feel the rounding, and the axis of their weights that has its own scales."""
_LEVELS: Final = 127
_KEEP: Final = 0.9
"""How slowly the range of an activation follows what is seen."""
_SMALLEST: Final = 1e-8


class FakeQuantization:
    """Rounds weights per output channel and layer inputs per tensor.

    Ranges of inputs follow a moving average while ``learning`` is true.
    """

    def __init__(self) -> None:
        self.learning = True
        self._ranges: dict[str, tuple[float, float]] = {}

    def inputs(
        self, node: Node, inputs: Sequence[torch.Tensor], trained: Mapping[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        """Return what a layer multiplies once it is int8; other nodes' inputs as they are."""
        rounded = list(inputs)
        if node.op in _WEIGHTED and node.inputs[1] in trained:
            axis = _WEIGHTED[node.op]
            if node.op == "Gemm" and not node.attributes.get("transB", 0):
                axis = 1
            rounded[0] = self._activation(node.inputs[0], inputs[0])
            rounded[1] = _weights(inputs[1], axis)
        return rounded

    def _activation(self, name: str, values: torch.Tensor) -> torch.Tensor:
        seen = values.detach()
        low, high = min(float(seen.min()), 0.0), max(float(seen.max()), 0.0)
        if self.learning or name not in self._ranges:
            before = self._ranges.get(name, (low, high))
            low = _KEEP * before[0] + (1 - _KEEP) * low
            high = _KEEP * before[1] + (1 - _KEEP) * high
            self._ranges[name] = (low, high)
        low, high = self._ranges[name]
        scale = max((high - low) / (2 * _LEVELS + 1), _SMALLEST)
        zero = max(-_LEVELS - 1, min(_LEVELS, round(-_LEVELS - 1 - low / scale)))
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, -_LEVELS - 1, _LEVELS)


def _weights(weights: torch.Tensor, axis: int) -> torch.Tensor:
    others = [number for number in range(weights.ndim) if number != axis]
    scale = weights.detach().abs().amax(dim=others).clamp(min=_SMALLEST) / _LEVELS
    zero = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weights, scale, zero, axis, -_LEVELS, _LEVELS)
