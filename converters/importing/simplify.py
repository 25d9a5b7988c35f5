"""Remove what does nothing at inference: Identity, Dropout, unused nodes."""

from dataclasses import replace

import numpy as np

from converters.graph import Graph, Node, prune_unused, rename_inputs


def drop_no_ops(graph: Graph) -> Graph:
    """Return ``graph`` without nodes whose output equals their input.

    A node that connects a graph input (or constant) straight to a graph output stays:
    both names belong to the model's user.
    """
    renamed: dict[str, str] = {}
    kept: list[Node] = []
    produced = {name for node in graph.nodes for name in node.outputs}
    for node in graph.nodes:
        if not _is_no_op(graph, node):
            kept.append(node)
            continue
        source, result = node.inputs[0], node.outputs[0]
        source = renamed.get(source, source)
        if result not in graph.outputs:
            renamed[result] = source
        elif source in produced and source not in graph.outputs:
            kept = [_rename_output(other, source, result) for other in kept]
            renamed[source] = result
        else:
            plain = Node(name=node.name, op="Identity", inputs=(source,), outputs=(result,))
            kept.append(plain)
    return prune_unused(replace(graph, nodes=rename_inputs(kept, renamed)))


def _is_no_op(graph: Graph, node: Node) -> bool:
    if node.domain:
        return False
    if node.op == "Identity":
        return True
    if node.op == "Dropout":
        training = node.optional_input(2)
        trains = bool(training) and bool(np.any(graph.constants.get(training, np.True_)))
        return not any(node.outputs[1:]) and not trains
    if node.op == "Cast":
        source, result = node.inputs[0], node.outputs[0]
        known = graph.has_type(source) and graph.has_type(result)
        return known and graph.dtype(source) == graph.dtype(result)
    if node.op in ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand"):
        source, result = node.inputs[0], node.outputs[0]
        known = graph.has_type(source) and graph.has_type(result)
        return known and graph.shape(source) == graph.shape(result)
    return False


def _rename_output(node: Node, old: str, new: str) -> Node:
    if old not in node.outputs:
        return node
    return replace(node, outputs=tuple(new if name == old else name for name in node.outputs))
