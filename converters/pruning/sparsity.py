"""Zeros scattered over the weights: they shrink the download and nothing else."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Graph
from converters.onnx_format import serialize
from edgeops.errors import UsageError

WORTHWHILE: Final = 0.05
"""A download that shrinks by less is not worth any loss of accuracy."""

_WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Sparsified:
    """A graph with zeros among its weights; it runs as fast, or slow, as before.

    Attributes:
        graph: The graph.
        zeros: Share of the layers' weights that are zero.
        compressed_bytes: Size of the compressed file, before and after.
    """

    graph: Graph
    zeros: float
    compressed_bytes: tuple[int, int]

    @property
    def saved(self) -> float:
        """Return the share of the compressed file that the zeros save."""
        before, after = self.compressed_bytes
        return 1.0 - after / before

    @property
    def sentence(self) -> str:
        """Return what this does and does not do, for people."""
        return (
            f"{self.zeros:.0%} of the weights are zero: the file is {self.saved:.0%} smaller in "
            "transit, but neither faster nor smaller in memory, because runtimes multiply by "
            "zero like by any other number"
        )


def sparsify(
    graph: Graph, ratio: float, write: Callable[[Graph], bytes] = serialize
) -> Sparsified | None:
    """Return ``graph`` with the smallest weights of each layer at zero, if that helps.

    Args:
        graph: A normalised float graph.
        ratio: Share of each layer's weights, more than 0 and less than 1.
        write: Makes the file whose compressed size counts.

    Returns:
        ``None`` where the compressed file would shrink by less than ``WORTHWHILE``.

    Raises:
        UsageError: The ratio is none.
    """
    if not 0.0 < ratio < 1.0:
        raise UsageError(f"the share of zeros is a number between 0 and 1, found {ratio}")
    names = [
        node.inputs[1]
        for node in graph.nodes
        if node.op in _WEIGHTED and not node.domain and node.inputs[1] in graph.constants
    ]
    constants = dict(graph.constants)
    for name in dict.fromkeys(names):
        constants[name] = _without_smallest(constants[name], ratio)
    sparse = replace(graph, constants=constants)
    total = sum(constants[name].size for name in set(names))
    zero = sum(int(np.count_nonzero(constants[name] == 0)) for name in set(names))
    sizes = (_compressed(write(graph)), _compressed(write(sparse)))
    result = Sparsified(sparse, zero / max(total, 1), sizes)
    return result if result.saved >= WORTHWHILE else None


def _without_smallest(weights: Array, ratio: float) -> Array:
    flat = weights.copy().reshape(-1)
    smallest = np.argsort(np.abs(flat), kind="stable")[: int(ratio * flat.size)]
    flat[smallest] = 0
    return flat.reshape(weights.shape)


def _compressed(data: bytes) -> int:
    return len(zlib.compress(data, 9))
