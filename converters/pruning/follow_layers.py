"""Channels through layers with weights: these end channels and begin new ones."""

import numpy as np

from converters.graph import Node
from converters.pruning.channels import Ids
from converters.pruning.walk import Walk

_SMALLEST_KERNEL_RANK = 3
_MATRIX_RANK = 2


def follow_conv(walk: Walk, node: Node) -> bool:
    """Begin new channels; a depthwise convolution carries its input's on."""
    weights = walk.graph.constants.get(node.inputs[1])
    bias = node.optional_input(2)
    if weights is None or weights.ndim < _SMALLEST_KERNEL_RANK:
        return False
    if bias and bias not in walk.graph.constants:
        return False
    groups = node.attributes.get("group", 1)
    source = walk.on_axis(node.inputs[0], 1)
    width = walk.graph.shape(node.inputs[0])[1]
    if not isinstance(groups, int) or groups < 1 or width % groups or weights.shape[0] % groups:
        return False
    made = weights.shape[0]
    if groups == 1:
        if source is not None:
            walk.cut(node, 1, 1, source.ids, "in")
        channels = walk.union.fresh(made)
    elif groups == width:
        if source is None:
            return True
        channels = np.repeat(source.ids, made // groups)
    else:
        channels = _follow_groups(walk, node, source.ids if source else None, groups, made)
    walk.cut(node, 1, 0, channels, "side" if groups == width > 1 else "out")
    if bias:
        walk.cut(node, 2, 0, channels, "side")
    walk.put(node.outputs[0], 1, channels)
    return True


def _follow_groups(walk: Walk, node: Node, source: Ids | None, groups: int, made: int) -> Ids:
    """Tie equal places of all groups together: every group must stay as wide as the others."""
    if source is not None:
        rows = source.reshape(groups, -1)
        for row in rows[1:]:
            walk.union.unite(rows[0], row)
        walk.cut(node, 1, 1, rows[0], "in")
    return np.tile(walk.union.fresh(made // groups), groups)


def follow_conv_transpose(walk: Walk, node: Node) -> bool:
    """Begin new channels; weights are ``(inputs, outputs, …)``; grouped ones are left alone."""
    weights = walk.graph.constants.get(node.inputs[1])
    bias = node.optional_input(2)
    if weights is None or node.attributes.get("group", 1) != 1:
        return False
    if bias and bias not in walk.graph.constants:
        return False
    source = walk.on_axis(node.inputs[0], 1)
    if source is not None:
        walk.cut(node, 1, 0, source.ids, "in")
    channels = walk.union.fresh(weights.shape[1])
    walk.cut(node, 1, 1, channels, "out")
    if bias:
        walk.cut(node, 2, 0, channels, "side")
    walk.put(node.outputs[0], 1, channels)
    return True


def follow_gemm(walk: Walk, node: Node) -> bool:
    """Begin new channels of a dense layer; the input is not transposed."""
    weights = walk.graph.constants.get(node.inputs[1])
    bias = node.optional_input(2)
    if weights is None or weights.ndim != _MATRIX_RANK or node.attributes.get("transA", 0) != 0:
        return False
    if bias and bias not in walk.graph.constants:
        return False
    inputs, outputs = (1, 0) if node.attributes.get("transB", 0) == 1 else (0, 1)
    source = walk.on_axis(node.inputs[0], 1)
    if source is not None:
        walk.cut(node, 1, inputs, source.ids, "in")
    channels = walk.union.fresh(weights.shape[outputs])
    walk.cut(node, 1, outputs, channels, "out")
    if bias:
        offset = walk.graph.constants[bias]
        if offset.ndim and offset.shape[-1] == len(channels) > 1:
            walk.cut(node, 2, offset.ndim - 1, channels, "side")
    walk.put(node.outputs[0], 1, channels)
    return True


def follow_matmul(walk: Walk, node: Node) -> bool:
    """Begin new channels along the last axis where the right factor is a constant matrix."""
    weights = walk.graph.constants.get(node.inputs[1])
    rank = len(walk.graph.shape(node.inputs[0]))
    if weights is None or weights.ndim != _MATRIX_RANK or rank < _MATRIX_RANK:
        return False
    source = walk.on_axis(node.inputs[0], rank - 1)
    if source is not None:
        walk.cut(node, 1, 0, source.ids, "in")
    channels = walk.union.fresh(weights.shape[1])
    walk.cut(node, 1, 1, channels, "out")
    walk.put(node.outputs[0], rank - 1, channels)
    return True


def follow_normalization(walk: Walk, node: Node) -> bool:
    """Carry channels on; batch and instance normalization keep one value per channel."""
    source = walk.on_axis(node.inputs[0], 1)
    if any(name not in walk.graph.constants for name in node.inputs[1:]):
        return False
    if any(node.outputs[1:]):
        return False
    if source is not None:
        for index in range(1, len(node.inputs)):
            walk.cut(node, index, 0, source.ids, "side")
        walk.put(node.outputs[0], 1, source.ids)
    return True
