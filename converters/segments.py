"""Run a graph slice by slice, so that watching every tensor needs the memory of a few."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from converters.arrays import Array, Feeds
from converters.graph import Graph
from converters.onnx_format import elements, serialize
from converters.ort import OrtModel

MAX_WATCHED_BYTES: Final = 24 << 20
"""Tensors that one slice hands out at a time."""


class SegmentedModel:
    """A graph that runs as a chain of slices.

    Args:
        graph: What runs; the type of every tensor that crosses a cut must be known.
        cuts: Ends of the slices but the last, as numbers of nodes, growing.
        watched: Tensors that each run hands out besides the graph's outputs.
        optimize: Whether the runtime may rewrite the slices.
    """

    def __init__(
        self,
        graph: Graph,
        cuts: Sequence[int],
        watched: Iterable[str] = (),
        *,
        optimize: bool = False,
    ) -> None:
        self._watched = frozenset(watched)
        self._outputs = frozenset(graph.outputs)
        self._slices = [
            (OrtModel(serialize(part), optimize=optimize, shared_memory=True), part)
            for part in slices(graph, cuts, self._watched)
        ]
        self._needed_later: list[frozenset[str]] = []
        later: frozenset[str] = frozenset()
        for _, part in reversed(self._slices):
            self._needed_later.append(later)
            later |= frozenset(part.inputs)
        self._needed_later.reverse()

    def run(self, feeds: Feeds) -> Iterator[dict[str, Array]]:
        """Yield, slice by slice, the watched tensors and outputs that it made.

        What is changed in a yielded dictionary before the next step is what later slices
        read. A tensor is let go once no later slice reads it.

        Raises:
            ConversionError: The model fails on this sample.
        """
        alive: Feeds = dict(feeds)
        for (model, part), later in zip(self._slices, self._needed_later, strict=True):
            made = model.run({name: alive[name] for name in part.inputs})
            seen = {n: v for n, v in made.items() if n in self._watched or n in self._outputs}
            yield seen
            alive |= made | seen
            alive = {name: value for name, value in alive.items() if name in later}


def slices(graph: Graph, cuts: Sequence[int], watched: frozenset[str]) -> list[Graph]:
    """Return ``graph`` cut into slices whose inputs are earlier slices' outputs.

    Slices that make nothing of interest are left out.
    """
    bounds = [0, *cuts, len(graph.nodes)]
    parts: list[Graph] = []
    wanted = set(graph.outputs) | watched
    for start, end in reversed(list(pairwise(bounds))):
        nodes = graph.nodes[start:end]
        made = {name for node in nodes for name in node.outputs if name}
        outputs = tuple(
            dict.fromkeys(n for node in nodes for n in node.outputs if n and n in wanted)
        )
        if not outputs:
            continue
        read = dict.fromkeys(name for node in nodes for name in node.inputs if name)
        inputs = tuple(name for name in read if name not in made and name not in graph.constants)
        parts.append(
            replace(
                graph,
                inputs=inputs,
                outputs=outputs,
                nodes=nodes,
                constants={n: v for n, v in graph.constants.items() if n in read},
            )
        )
        wanted |= set(inputs)
    return parts[::-1]


def cuts_by_memory(
    graph: Graph, watched: Iterable[str], max_bytes: int = MAX_WATCHED_BYTES
) -> tuple[int, ...]:
    """Return where to cut so that the watched tensors of one slice stay below ``max_bytes``.

    A single tensor larger than that still makes a slice of its own.
    """
    wanted = frozenset(watched)
    cuts: list[int] = []
    held = 0
    for index, node in enumerate(graph.nodes):
        size = sum(
            elements(graph.shape(name)) * graph.dtype(name).itemsize
            for name in node.outputs
            if name in wanted
        )
        if held and held + size > max_bytes and _is_clean(graph, index):
            cuts.append(index)
            held = 0
        held += size
    return tuple(cuts)


def _is_clean(graph: Graph, cut: int) -> bool:
    """Whether the type of every tensor that crosses ``cut`` is known."""
    made = {name for node in graph.nodes[:cut] for name in node.outputs if name}
    read = {name for node in graph.nodes[cut:] for name in node.inputs if name}
    return all(graph.has_type(name) for name in made & read)
