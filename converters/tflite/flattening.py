"""Dense layers behind a flattened image: their columns move, so that the image need not.

ONNX flattens ``[N, C, H, W]``; the file holds ``[N, H, W, C]``. Reordering the constant
columns of the layer once, at conversion time, replaces a TRANSPOSE in every inference.
"""

from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Graph, Node
from converters.onnx_format import elements
from converters.tflite.layout import Value

_FLATTENING: Final = frozenset({"Flatten", "Reshape", "Squeeze"})
_IMAGE_AXES: Final = 3


def flattened_images(graph: Graph) -> dict[str, Node]:
    """Return dense layer -> the node before it that flattens an image for it alone."""
    readers = graph.consumers()
    found: dict[str, Node] = {}
    for node in graph.nodes:
        if node.op not in _FLATTENING or node.domain or not _is_flattening(graph, node):
            continue
        reader = graph.sole_consumer(node.outputs[0], readers)
        dense = reader is not None and reader.op == "Gemm" and not reader.domain
        if reader is None or not dense or reader.inputs[0] != node.outputs[0]:
            continue
        if node.outputs[0] not in reader.inputs[1:]:
            found[reader.name] = node
    return found


def _is_flattening(graph: Graph, node: Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    if source in graph.constants or not graph.has_type(source) or not graph.has_type(result):
        return False
    shape = graph.shape(source)
    if len(shape) < _IMAGE_AXES or graph.dtype(source) != np.float32:
        return False
    return graph.shape(result) == (shape[0], elements(shape[1:]))


def reordered_columns(weights: Array, image: Value) -> Array:
    """Return ``weights`` for the image's stored order.

    Args:
        weights: ``(outputs, elements of one image)``, columns in ONNX's order.
        image: The image; its batch axis is stored first.
    """
    spread = weights.reshape(len(weights), *image.shape[1:])
    return spread.transpose(0, *image.perm[1:]).reshape(weights.shape)
