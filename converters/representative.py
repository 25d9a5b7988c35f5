"""Samples as the graph's input tensors: for calibration, comparison and ranking."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from converters.arrays import Array, Feeds
from converters.datasets import Dataset
from converters.graph import Graph
from converters.progress import Progress, Unseen
from edgeops.contracts.manifest import InputSpec, TensorSpec
from edgeops.errors import ConversionError
from edgeops.inference.preprocess import Preprocessor

MAX_WINDOWS: Final = 32
"""Windows taken of one long signal: neighbours tell little that is new."""


class Representative:
    """Chosen samples of a data set, pre-processed anew at every pass.

    Args:
        dataset: Where samples come from.
        chosen: Indices of the samples.
        spec: Pre-processing.
        tensor: The graph's input.
        progress: Told of every pass.
    """

    def __init__(
        self,
        dataset: Dataset,
        chosen: Sequence[int],
        spec: InputSpec,
        tensor: TensorSpec,
        progress: Progress | None = None,
    ) -> None:
        self._dataset = dataset
        self._chosen = tuple(chosen)
        self._preprocess = Preprocessor(spec, tensor)
        self._name = tensor.name
        self._progress = progress or Unseen()

    def __call__(self) -> Iterator[Feeds]:
        """Yield one feed per sample, or per window of it; valid until the next one."""
        self._progress.stage("calibration samples", len(self._chosen))
        for index in self._chosen:
            tensors = self._tensors(index)
            step = -(-len(tensors) // MAX_WINDOWS)
            for tensor in tensors[::step]:
                yield {self._name: tensor}
            self._progress.advance()

    def first(self, count: int) -> list[Feeds]:
        """Return copies of at most ``count`` feeds, spread over the samples."""
        step = max(1, len(self._chosen) // count)
        found: list[Feeds] = []
        for index in self._chosen[::step][:count]:
            tensors = self._tensors(index)
            found.append({self._name: tensors[len(tensors) // 2].copy()})
        return found

    def _tensors(self, index: int) -> Sequence[Array]:
        with self._dataset.naming(index):
            return self._preprocess(self._dataset.read(index).data).tensors

    def digests(self) -> set[str]:
        """Return the digests of the chosen samples."""
        return {self._dataset.read(index).sha256() for index in self._chosen}


def shared_samples(chosen: set[str], evaluation: Iterable[str]) -> int:
    """Return how many evaluation samples were calibrated on: such figures flatter."""
    return sum(digest in chosen for digest in evaluation)


def require_one_input(graph: Graph) -> None:
    """Refuse a model that samples cannot be fed to; raises ``ConversionError``."""
    if not graph.inputs:
        raise ConversionError("the model has no input: its answer does not depend on any sample")
    if len(graph.inputs) > 1:
        raise ConversionError(
            f"the model has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}): "
            "models with one input are supported"
        )


def input_tensor(graph: Graph, spec: InputSpec) -> TensorSpec:
    """Return the graph's one input as the contract has it.

    Raises:
        ConversionError: The model has no or several inputs, or one that is not float32.
    """
    require_one_input(graph)
    name = graph.inputs[0]
    if graph.dtype(name) != np.float32:
        raise ConversionError(f"input {name!r} is {graph.dtype(name)}, expected float32")
    return TensorSpec(name=name, shape=graph.shape(name), dtype="float32", layout=spec.layout)


def invented_feeds(graph: Graph, count: int, seed: int) -> list[Feeds]:
    """Return uniform noise in 0..1 for the comparison of models where there is no data."""
    random = np.random.default_rng(seed)
    return [
        {name: random.random(graph.shape(name), dtype=np.float32) for name in graph.inputs}
        for _ in range(count)
    ]
