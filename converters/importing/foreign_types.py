"""Types of what operators of other domains make: nobody can infer them, so they are run."""

from dataclasses import replace

import numpy as np

from converters.arrays import Array, Feeds
from converters.graph import Graph, TensorType
from converters.onnx_format import infer_types, serialize
from converters.ort import OrtModel


def type_foreign(graph: Graph) -> Graph:
    """Return ``graph`` with the types of tensors that operators of other domains make.

    The graph is run twice, on zeros and on ones; a type counts only where both agree, since
    a shape that depends on the data is not static.

    Raises:
        ConversionError: ONNX Runtime refuses the graph or fails on it.
        UnsupportedModelError: Such an operator makes something else than a tensor.
    """
    makers = {name: n for n in graph.nodes if n.domain for name in n.outputs if name}
    unknown = [name for name in makers if not graph.has_type(name)]
    if not unknown:
        return graph
    # Everything behind them is unknown as well; only the foreign outputs are asked for.
    runner = OrtModel(serialize(replace(graph, outputs=tuple(unknown))))
    first, second = (runner.run(_feeds(graph, fill)) for fill in (0, 1))
    types = dict(graph.types)
    for name in unknown:
        before, after = first[name], second[name]
        if not all(hasattr(value, "shape") for value in (before, after)):
            raise makers[name].refuse(
                f"its output {name!r} is no tensor", "export without maps and sequences"
            )
        if before.shape == after.shape:
            types[name] = TensorType(before.dtype, before.shape)
    return infer_types(replace(graph, types=types))


def _feeds(graph: Graph, fill: int) -> Feeds:
    feeds: dict[str, Array] = {}
    for name in graph.inputs:
        dtype = graph.dtype(name)
        value = str(fill) if dtype == np.dtype(object) else fill
        feeds[name] = np.full(graph.shape(name), value, dtype)
    return feeds
