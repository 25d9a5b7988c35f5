"""Layers with weights, pools and resizing in PyTorch, with ONNX's meaning of attributes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from converters.arrays import as_ints
from converters.graph import Graph, Node

Tensors = Sequence[torch.Tensor]


def _list(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return as_ints(np.asarray(node.attributes.get(name, default)))


def _padded(x: torch.Tensor, pads: Sequence[int], value: float) -> torch.Tensor:
    """Pad the image axes; ``pads`` are ONNX's: all begins, then all ends."""
    rank = len(pads) // 2
    if not any(pads):
        return x
    reverse = [n for axis in reversed(range(rank)) for n in (pads[axis], pads[rank + axis])]
    return functional.pad(x, reverse, value=value)


def _explicit(node: Node) -> None:
    if node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise node.refuse("implicit pads cannot be trained through")


def conv(node: Node, inputs: Tensors, _: Graph) -> torch.Tensor:
    """Return a convolution of 1 to 3 image axes."""
    _explicit(node)
    x, weights, *bias = inputs
    rank = weights.ndim - 2
    run = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}.get(rank)
    if run is None:
        raise node.refuse(f"a convolution over {rank} axes cannot be trained")
    x = _padded(x, _list(node, "pads", (0,) * (2 * rank)), 0.0)
    return run(
        x,
        weights,
        bias[0] if bias else None,
        stride=_list(node, "strides", (1,) * rank),
        dilation=_list(node, "dilations", (1,) * rank),
        groups=node.attributes.get("group", 1),
    )


def conv_transpose(node: Node, inputs: Tensors, _: Graph) -> torch.Tensor:
    """Return a transposed convolution; pads are cut off its result."""
    _explicit(node)
    x, weights, *bias = inputs
    rank = weights.ndim - 2
    run = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d}.get(rank)
    if run is None or "output_shape" in node.attributes:
        raise node.refuse("this form of transposed convolution cannot be trained")
    pads = _list(node, "pads", (0,) * (2 * rank))
    result = run(
        x,
        weights,
        bias[0] if bias else None,
        stride=_list(node, "strides", (1,) * rank),
        output_padding=_list(node, "output_padding", (0,) * rank),
        dilation=_list(node, "dilations", (1,) * rank),
        groups=node.attributes.get("group", 1),
    )
    return _padded(result, [-pad for pad in pads], 0.0)


def gemm(node: Node, inputs: Tensors, _: Graph) -> torch.Tensor:
    """Return a dense layer."""
    a, b, *c = inputs
    if node.attributes.get("transA", 0):
        raise node.refuse("a transposed input cannot be trained through")
    product = a @ (b.T if node.attributes.get("transB", 0) else b)
    product = product * node.attributes.get("alpha", 1.0)
    return product + c[0] * node.attributes.get("beta", 1.0) if c else product


def batch_normalization(node: Node, inputs: Tensors, _: Graph) -> torch.Tensor:
    """Return batch normalization by its stored statistics."""
    x, scale, shift, mean, variance = inputs
    epsilon = node.attributes.get("epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, shift, eps=epsilon)


def max_pool(node: Node, inputs: Tensors, _: Graph) -> torch.Tensor:
    """Return the largest value per window."""
    _explicit(node)
    kernel = _list(node, "kernel_shape", ())
    rank = len(kernel)
    run = {1: functional.max_pool1d, 2: functional.max_pool2d}.get(rank)
    if run is None or node.attributes.get("ceil_mode", 0) or any(node.outputs[1:]):
        raise node.refuse("this form of pool cannot be trained through")
    x = _padded(inputs[0], _list(node, "pads", (0,) * (2 * rank)), float("-inf"))
    strides = _list(node, "strides", (1,) * rank)
    return run(x, kernel, strides, dilation=_list(node, "dilations", (1,) * rank))


def average_pool(node: Node, inputs: Tensors, _: Graph) -> torch.Tensor:
    """Return the mean per window; padding counts only where the node says so."""
    _explicit(node)
    kernel = _list(node, "kernel_shape", ())
    rank = len(kernel)
    run = {1: functional.avg_pool1d, 2: functional.avg_pool2d}.get(rank)
    dilated = any(step != 1 for step in _list(node, "dilations", (1,) * rank))
    if run is None or node.attributes.get("ceil_mode", 0) or dilated:
        raise node.refuse("this form of pool cannot be trained through")
    x, pads = inputs[0], _list(node, "pads", (0,) * (2 * rank))
    strides = _list(node, "strides", (1,) * rank)
    mean = run(_padded(x, pads, 0.0), kernel, strides)
    if not any(pads) or node.attributes.get("count_include_pad", 0):
        return mean
    share = run(_padded(torch.ones_like(x[:1, :1]), pads, 0.0), kernel, strides)
    return mean / share


def resize(node: Node, inputs: Tensors, graph: Graph) -> torch.Tensor:
    """Return a resized image, for the modes in which PyTorch and ONNX agree."""
    size = graph.shape(node.outputs[0])[2:]
    same = graph.shape(node.inputs[0])[:2] == graph.shape(node.outputs[0])[:2]
    mode = node.attributes.get("mode", "nearest")
    place = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    if same and (mode, place, rounding) == ("nearest", "asymmetric", "floor"):
        return functional.interpolate(inputs[0], size=size, mode="nearest")
    whole = all(b % a == 0 for a, b in zip(graph.shape(node.inputs[0])[2:], size, strict=True))
    if same and mode == "nearest" and place == "half_pixel" and whole:
        return functional.interpolate(inputs[0], size=size, mode="nearest")
    linear = same and mode == "linear" and len(size) == 2  # noqa: PLR2004 - height and width
    if linear and place in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        aligned = place == "align_corners"
        return functional.interpolate(inputs[0], size=size, mode="bilinear", align_corners=aligned)
    raise node.refuse("this form of resizing cannot be trained through")
