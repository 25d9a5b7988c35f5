"""Channels through nodes that join, split, move or re-read tensors."""

import math
from collections.abc import Sequence

import numpy as np

from converters.graph import Node
from converters.pruning.channels import ChannelAxis
from converters.pruning.walk import Walk, axis_number, whole_numbers


def follow_concat(walk: Walk, node: Node) -> bool:
    """Put the inputs' channels side by side, or tie them where another axis is joined."""
    rank = len(walk.graph.shape(node.outputs[0]))
    axis = axis_number(node.attributes.get("axis"), rank)
    tracked = {walk.tensors[name].axis for name in node.inputs if name in walk.tensors}
    if not tracked:
        return True
    if axis is None or len(tracked) != 1:
        return False
    (channel_axis,) = tracked
    if axis == channel_axis:
        parts = [walk.known_or_pinned(name, axis) for name in node.inputs]
        walk.put(node.outputs[0], axis, np.concatenate(parts))
        return True
    columns = [walk.known_or_pinned(name, channel_axis) for name in node.inputs]
    for other in columns[1:]:
        walk.union.unite(columns[0], other)
    walk.put(node.outputs[0], channel_axis, columns[0])
    return True


def follow_split(walk: Walk, node: Node) -> bool:
    """Hand every part its channels."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        return True
    axis = axis_number(node.attributes.get("axis", 0), len(walk.graph.shape(node.inputs[0])))
    sizes = node.optional_input(1)
    if axis is None or (sizes and sizes not in walk.graph.constants) or "" in node.outputs:
        return False
    start = 0
    for name in node.outputs:
        end = start + walk.graph.shape(name)[axis]
        ids = source.ids[start:end] if axis == source.axis else source.ids
        walk.put(name, source.axis, ids)
        start = end
    return True


def follow_slice(walk: Walk, node: Node) -> bool:
    """Keep the channels that a slice in steps of one takes."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        return True
    bounds = channel_slice(walk, node, source)
    if bounds is None:
        return False
    walk.put(node.outputs[0], source.axis, source.ids[bounds[0] : bounds[1]])
    return True


def channel_slice(walk: Walk, node: Node, source: ChannelAxis) -> tuple[int, int] | None:
    """Return first and end channel that ``node`` takes, ``None`` where it is not so simple."""
    shape = walk.graph.shape(node.inputs[0])
    lists = [
        whole_numbers(walk.graph, name) if (name := node.optional_input(index)) else ()
        for index in (1, 2, 3, 4)
    ]
    if any(values is None for values in lists):
        return None
    starts, ends, axes, steps = ([] if values is None else list(values) for values in lists)
    axes = axes or list(range(len(starts)))
    steps = steps or [1] * len(starts)
    size = len(source.ids)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis_number(axis, len(shape)) != source.axis:
            continue
        if step != 1:
            return None
        first, last, _ = slice(start, end).indices(size)
        return (first, last) if first < last else None
    return 0, size


def follow_gather(walk: Walk, node: Node) -> bool:
    """Re-order or pick channels by constant indices."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        walk.pin(node.inputs[1])
        return True
    indices = walk.graph.constants.get(node.inputs[1])
    axis = axis_number(node.attributes.get("axis", 0), len(walk.graph.shape(node.inputs[0])))
    if indices is None or axis is None:
        return False
    if axis == source.axis:
        if indices.ndim != 1 or not len(indices):
            return False
        walk.put(node.outputs[0], axis, source.ids[np.asarray(indices, dtype=np.int64)])
    else:
        moved = source.axis + (indices.ndim - 1 if source.axis > axis else 0)
        walk.put(node.outputs[0], moved, source.ids)
    return True


def follow_pad(walk: Walk, node: Node) -> bool:
    """Carry channels on; channels that padding adds are new ones that stay."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        return True
    amounts = whole_numbers(walk.graph, node.inputs[1])
    rank = len(walk.graph.shape(node.inputs[0]))
    if amounts is None or node.optional_input(3) or len(amounts) != 2 * rank:
        return False
    before, after = amounts[source.axis], amounts[rank + source.axis]
    if before == after == 0:
        walk.put(node.outputs[0], source.axis, source.ids)
        return True
    if min(before, after) < 0 or node.attributes.get("mode", "constant") != "constant":
        return False
    added = walk.union.fresh(before + after)
    walk.union.pin(added)
    ids = np.concatenate([added[:before], source.ids, added[before:]])
    walk.put(node.outputs[0], source.axis, ids)
    return True


def follow_transpose(walk: Walk, node: Node) -> bool:
    """Move the channel axis."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        return True
    rank = len(walk.graph.shape(node.inputs[0]))
    order = node.attributes.get("perm", tuple(reversed(range(rank))))
    if not isinstance(order, tuple) or source.axis not in order:
        return False
    walk.put(node.outputs[0], order.index(source.axis), source.ids)
    return True


def follow_reshape(walk: Walk, node: Node) -> bool:
    """Find the channels again after Reshape, Flatten, Squeeze or Unsqueeze."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        return True
    before, after = (walk.graph.shape(n) for n in (node.inputs[0], node.outputs[0]))
    if any(name not in walk.graph.constants for name in node.inputs[1:] if name):
        return False
    found = _reshaped(walk, source, before, after)
    if found is None:
        return False
    walk.put(node.outputs[0], found.axis, found.ids)
    return True


def _reshaped(
    walk: Walk, source: ChannelAxis, before: Sequence[int], after: Sequence[int]
) -> ChannelAxis | None:
    """Return where the channels of ``before`` lie in ``after``: both are read row by row.

    The axis may stay as it is, swallow axes on its right (each channel then takes a run of
    indices), or be split in two, where equal places of all parts are tied together.
    """
    count = len(source.ids)
    if count <= 1 or math.prod(before) != math.prod(after):
        return None
    left = math.prod(before[: source.axis])
    right = math.prod(before[source.axis + 1 :])
    for axis, size in enumerate(after):
        if math.prod(after[:axis]) != left or size == 1:
            continue
        rest = math.prod(after[axis + 1 :])
        if size % count == 0 and rest * (size // count) == right:
            return ChannelAxis(axis, np.repeat(source.ids, size // count))
        if axis + 1 < len(after) and size * after[axis + 1] == count:
            parts = source.ids.reshape(size, -1)
            for part in parts[1:]:
                walk.union.unite(parts[0], part)
            return ChannelAxis(axis + 1, parts[0])
        return None
    return None
