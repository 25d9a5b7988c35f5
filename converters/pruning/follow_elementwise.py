"""Channels through arithmetic that treats every channel alike."""

from converters.graph import Node
from converters.pruning.channels import ChannelAxis
from converters.pruning.walk import Walk, axis_number, whole_numbers


def follow_same(walk: Walk, node: Node) -> bool:
    """Carry the first input's channels to the output, which has its shape."""
    source = walk.tensors.get(node.inputs[0])
    walk.pin(*node.inputs[1:])
    if source is not None:
        walk.put(node.outputs[0], source.axis, source.ids)
    return True


def follow_pool(walk: Walk, node: Node) -> bool:
    """Carry channels through a pool over the image axes."""
    source = walk.on_axis(node.inputs[0], 1)
    if any(node.outputs[1:]):
        return False
    if source is not None:
        walk.put(node.outputs[0], 1, source.ids)
    return True


def follow_resize(walk: Walk, node: Node) -> bool:
    """Carry channels through a resize that leaves the channel axis alone."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        return True
    mode = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    before, after = (walk.graph.shape(n) for n in (node.inputs[0], node.outputs[0]))
    if "axes" in node.attributes or mode == "tf_crop_and_resize":
        return False
    if before[source.axis] != after[source.axis]:
        return False
    if any(name not in walk.graph.constants for name in node.inputs[1:] if name):
        return False
    walk.put(node.outputs[0], source.axis, source.ids)
    return True


def follow_along_axis(walk: Walk, node: Node) -> bool:
    """Carry channels through a softmax over another axis."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        return True
    axis = axis_number(node.attributes.get("axis", -1), len(walk.graph.shape(node.inputs[0])))
    if axis is None or axis == source.axis:
        return False
    walk.put(node.outputs[0], source.axis, source.ids)
    return True


def follow_reduce(walk: Walk, node: Node) -> bool:
    """Carry channels through a reduction over other axes."""
    source = walk.tensors.get(node.inputs[0])
    if source is None:
        return True
    rank = len(walk.graph.shape(node.inputs[0]))
    axes = reduced_axes(walk, node, rank)
    if axes is None or source.axis in axes:
        return False
    gone = 0
    if node.attributes.get("keepdims", 1) == 0:
        gone = sum(axis < source.axis for axis in axes)
    walk.put(node.outputs[0], source.axis - gone, source.ids)
    return True


def reduced_axes(walk: Walk, node: Node, rank: int) -> frozenset[int] | None:
    """Return the axes that ``node`` reduces, ``None`` where they are all or not known."""
    stated: object = node.attributes.get("axes")
    if stated is None and node.optional_input(1):
        stated = whole_numbers(walk.graph, node.inputs[1])
    if not isinstance(stated, tuple) or not stated:
        return None
    numbers = [axis_number(axis, rank) for axis in stated]
    return frozenset(n for n in numbers if n is not None) if None not in numbers else None


def follow_broadcast(walk: Walk, node: Node) -> bool:
    """Tie the channels of all operands together, as broadcasting lines them up."""
    shape = walk.graph.shape(node.outputs[0])
    axis = _common_axis(walk, node, len(shape))
    if axis is None:
        return not any(name in walk.tensors for name in node.inputs)
    operands = [(index, name) for index, name in enumerate(node.inputs) if name]
    for _, name in operands:
        own_axis = axis - (len(shape) - len(walk.graph.shape(name)))
        wide = own_axis >= 0 and walk.graph.shape(name)[own_axis] == shape[axis]
        moving = name in walk.tensors or name in walk.graph.constants
        if wide and shape[axis] > 1 and not moving:
            return False
        if not wide and name in walk.tensors:  # one channel, spread over all
            walk.pin(name)
    ids = next(
        walk.tensors[name].ids
        for _, name in operands
        if name in walk.tensors and len(walk.tensors[name].ids) == shape[axis]
    )
    for index, name in operands:
        if name in walk.tensors and len(walk.tensors[name].ids) == len(ids):
            walk.union.unite(ids, walk.tensors[name].ids)
        elif name in walk.graph.constants:
            own_axis = axis - (len(shape) - len(walk.graph.shape(name)))
            if own_axis >= 0 and walk.graph.shape(name)[own_axis] == len(ids) > 1:
                walk.cut(node, index, own_axis, ids, "side")
    walk.put(node.outputs[0], axis, ids)
    return True


def _common_axis(walk: Walk, node: Node, rank: int) -> int | None:
    """Return the output axis that all operands with channels have them on, if there is one."""
    axes = {
        found.axis + rank - len(walk.graph.shape(name))
        for name in node.inputs
        if (found := walk.tensors.get(name)) is not None
    }
    if len(axes) != 1:
        return None
    (axis,) = axes
    size = walk.graph.shape(node.outputs[0])[axis]
    widths = [len(_channels.ids) for _channels in _tracked(walk, node)]
    return axis if size in widths else None


def _tracked(walk: Walk, node: Node) -> list[ChannelAxis]:
    return [walk.tensors[name] for name in node.inputs if name in walk.tensors]
