"""Round the weights of layers that stay float to half precision.

A float layer in an int8 file is there for its activations; half the bits of its weights cost
nothing that can be measured, and half the bytes. Every file made of the graph then holds the
same numbers: TFLite stores them in half, ONNX in full.
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from converters.arrays import Array, as_floats
from converters.graph import Graph
from converters.quant.operators import multiply_accumulates


def halve_islands(graph: Graph, quantized: Collection[str]) -> Graph:
    """Return ``graph`` with the weights of all layers but ``quantized`` rounded to float16.

    Weights that float16 cannot hold, or that another node reads too, are left alone.

    Args:
        graph: The float graph that integer files are written from.
        quantized: Names of the nodes that compute in integers.
    """
    readers = graph.consumers()
    halved: dict[str, Array] = {}
    for node in graph.nodes:
        if node.name in quantized or not multiply_accumulates(graph, node):
            continue
        name = node.optional_input(1)
        weights = graph.constants.get(name)
        if weights is None or weights.dtype != np.float32 or len(readers[name]) > 1:
            continue
        if np.abs(as_floats(weights)).max(initial=0.0) <= np.finfo(np.float16).max:
            halved[name] = weights.astype(np.float16).astype(np.float32)
    return replace(graph, constants={**graph.constants, **halved}) if halved else graph
