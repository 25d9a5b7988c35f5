"""Operators that repeat, interleave or mask elements, and running sums."""

import numpy as np

from converters.arrays import as_ints
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import FLOAT, NUMBERS, output, select, whole
from converters.tflite.layout import IMAGE_RANK, NHWC, identity
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.ops_index import pick

_BROADCAST_VERSION = 2
_MAX_BROADCAST_RANK = 8


def lower_expand(lowering: Lowering, node: Node) -> None:
    """Write Expand as BROADCAST_TO; the shape must be known."""
    with AttributeReader(node):
        pass
    shape = lowering.graph.shape(node.outputs[0])
    if len(shape) > _MAX_BROADCAST_RANK:
        raise node.refuse(f"{len(shape)} axes are not supported", SUGGESTION)
    source = lowering.read(node)
    if len(source.shape) != len(shape):
        source = lowering.read(node, 0, identity(len(source.shape)))
    perm = source.perm if len(source.shape) == len(shape) else identity(len(shape))
    result = output(lowering, node, perm)
    lowering.emit(
        "BROADCAST_TO",
        [source.tensor, whole(lowering, "shape", result.stored_shape)],
        result,
        ("BroadcastToOptions", {}),
        version=_BROADCAST_VERSION,
    )


def lower_tile(lowering: Lowering, node: Node) -> None:
    """Write Tile with constant repeats."""
    with AttributeReader(node):
        pass
    source = lowering.read(node)
    repeats = as_ints(lowering.constant(node, 1))
    if len(repeats) != len(source.shape):
        raise node.refuse("its repeats do not fit its input", "the model is damaged")
    counts = whole(lowering, "repeats", [repeats[axis] for axis in source.perm])
    result = output(lowering, node, source.perm)
    lowering.emit("TILE", [source.tensor, counts], result, ("TileOptions", {}))


def _block(lowering: Lowering, node: Node) -> tuple[int, str]:
    with AttributeReader(node) as attributes:
        size = attributes.integer("blocksize", 0)
        mode = attributes.text("mode", "DCR")
    if len(lowering.graph.shape(node.inputs[0])) != IMAGE_RANK or size < 1:
        raise node.refuse("only images with a positive block size are supported", SUGGESTION)
    if lowering.graph.dtype(node.inputs[0]) != FLOAT:
        raise node.refuse("only float32 is supported", SUGGESTION)
    if mode not in ("DCR", "CRD"):
        raise node.refuse(f"mode {mode} is not supported")
    return size, mode


def lower_depth_to_space(lowering: Lowering, node: Node) -> None:
    """Write DepthToSpace; for CRD the channels are put into DCR's order first."""
    size, mode = _block(lowering, node)
    source = lowering.read(node, 0, NHWC)
    if mode == "CRD":
        channels = source.shape[1]
        # CRD counts (channel, row, column), TFLite (row, column, channel).
        order = np.arange(channels).reshape(channels // size**2, size * size).T.ravel()
        source = pick(lowering, source, 1, order.tolist())
    result = output(lowering, node, NHWC)
    options = ("DepthToSpaceOptions", {"blockSize": size})
    lowering.emit("DEPTH_TO_SPACE", [source.tensor], result, options)


def lower_space_to_depth(lowering: Lowering, node: Node) -> None:
    """Write SpaceToDepth; for CRD the channels are put from DCR's order into that."""
    size, mode = _block(lowering, node)
    source = lowering.read(node, 0, NHWC)
    result = output(lowering, node, NHWC)
    options = ("SpaceToDepthOptions", {"blockSize": size})
    if mode == "DCR":
        lowering.emit("SPACE_TO_DEPTH", [source.tensor], result, options)
        return
    blocks = lowering.temporary(result.shape, NHWC)
    lowering.emit("SPACE_TO_DEPTH", [source.tensor], blocks, options)
    order = np.arange(result.shape[1]).reshape(size * size, source.shape[1]).T.ravel()
    lowering.emit(
        "GATHER",
        [blocks.tensor, whole(lowering, "indices", order)],
        result,
        ("GatherOptions", {"axis": result.stored_axis(1)}),
    )


def lower_cum_sum(lowering: Lowering, node: Node) -> None:
    """Write CumSum along a constant axis."""
    with AttributeReader(node) as attributes:
        exclusive = attributes.integer("exclusive", 0) == 1
        backward = attributes.integer("reverse", 0) == 1
    source = lowering.read(node)
    if source.dtype not in NUMBERS:
        raise node.refuse(f"{source.dtype} arithmetic is not supported", SUGGESTION)
    axis = as_ints(lowering.constant(node, 1))[0] % len(source.shape)
    place = whole(lowering, "axis", np.asarray(source.stored_axis(axis)))
    result = output(lowering, node, source.perm)
    options = ("CumsumOptions", {"exclusive": exclusive, "reverse": backward})
    lowering.emit("CUMSUM", [source.tensor, place], result, options)


def lower_trilu(lowering: Lowering, node: Node) -> None:
    """Write Trilu as a choice by a constant triangle."""
    with AttributeReader(node) as attributes:
        upper = attributes.integer("upper", 1) == 1
    shape = lowering.graph.shape(node.inputs[0])
    if len(shape) > IMAGE_RANK or lowering.graph.dtype(node.inputs[0]) not in NUMBERS:
        raise node.refuse("only numbers with up to four axes are supported", SUGGESTION)
    diagonal = as_ints(lowering.constant(node, 1))[0] if node.optional_input(1) else 0
    square = np.ones(shape[-2:], np.bool_)
    triangle = np.triu(square, diagonal) if upper else np.tril(square, diagonal)
    source = lowering.read(node, 0, identity(len(shape)))
    mask = lowering.add_constant("triangle", triangle, identity(2))
    select(lowering, mask, source, 0.0, output(lowering, node))
