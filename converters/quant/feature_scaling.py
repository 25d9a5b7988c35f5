"""Scaling of tabular features at the start of a model: computed in float, whatever follows.

A row of readings mixes units. One int8 step for all of them, fit to the largest, leaves
nothing of a column of thousandths; after the scaling, one step fits all columns.
"""

from typing import Final

import numpy as np

from converters.graph import Graph, Node

SCALED_IN_FLOAT: Final = "features of different units are brought to one scale in float"

_ARITHMETIC: Final = frozenset({"Add", "Sub", "Mul", "Div"})
_ROWS: Final = 2


def feature_scaling(graph: Graph) -> frozenset[str]:
    """Return the names of the nodes that shift and scale an input's columns one by one.

    Only rows ``(batch, features)`` count: the channels of an image share their unit.
    """
    reached = {
        name for name in graph.inputs if graph.has_type(name) and len(graph.shape(name)) == _ROWS
    }
    found: set[str] = set()
    for node in graph.nodes:
        if _scales_columns(graph, node, reached):
            found.add(node.name)
            reached.update(node.outputs)
    return frozenset(found)


def _scales_columns(graph: Graph, node: Node, reached: set[str]) -> bool:
    if node.op not in _ARITHMETIC or node.domain or not reached & set(node.inputs):
        return False
    constants = [graph.constants[name] for name in node.inputs if name in graph.constants]
    # One number for all columns moves them together: their units are the same already.
    return len(constants) == 1 and bool(np.ptp(constants[0].astype(np.float64)) > 0)
