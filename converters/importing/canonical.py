"""One way to write each layer, so that quantization and lowering meet no variants.

After ``canonicalise``: convolutions and pools have explicit pads and dilations; a dense
layer is ``Gemm`` with ``transB=1``, no scaling factors and a bias vector; weights belong
to one node each; no bias is missing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from converters.arrays import Array, as_ints
from converters.graph import Attribute, Graph, Node, fresh_name, prune_unused, tensor_names
from converters.importing.channel_shuffle import gather_channels
from converters.importing.general_gemm import spell_out_gemms
from converters.importing.one_dimensional import lift_lines

_WINDOWED: Final = frozenset({"Conv", "MaxPool", "AveragePool"})
_WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_SMALLEST_IMAGE_RANK: Final = 3
_MATRIX_RANK: Final = 2


def canonicalise(graph: Graph) -> Graph:
    """Return ``graph`` in the one form the rest of the converter knows."""
    passes: tuple[Callable[[Graph], Graph], ...] = (
        gather_channels,
        _spell_out_ones,
        _explicit_windows,
        _global_pools,
        _absorb_pads,
        lift_lines,
        _dense_layers,
        spell_out_gemms,
        _plain_biases,
        _own_weights,
    )
    for one in passes:
        graph = one(graph)
    return prune_unused(graph)


def _spell_out_ones(graph: Graph) -> Graph:
    """Write a softmax over one element as ``0 x + 1``.

    ONNX Runtime fuses it into an integer kernel wherever its neighbours are integers, and
    that kernel answers 0.
    """
    constants, types = dict(graph.constants), dict(graph.types)
    taken = tensor_names(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        if not _is_softmax_of_one(graph, node):
            nodes.append(node)
            continue
        words = ("zero", "one", "times_zero")
        zero, one, product = (fresh_name(f"{node.name}_{word}", taken) for word in words)
        taken |= {zero, one, product}
        kind = graph.dtype(node.inputs[0])
        constants |= {zero: np.zeros((), kind), one: np.ones((), kind)}
        types[product] = graph.types[node.outputs[0]]
        first = Node(name=product, op="Mul", inputs=(node.inputs[0], zero), outputs=(product,))
        nodes += [first, replace(node, op="Add", inputs=(product, one), attributes={})]
    return replace(graph, nodes=tuple(nodes), constants=constants, types=types)


def _is_softmax_of_one(graph: Graph, node: Node) -> bool:
    if node.op != "Softmax" or node.domain or not graph.has_type(node.outputs[0]):
        return False
    shape = graph.shape(node.outputs[0])
    axis = int(np.asarray(node.attributes.get("axis", -1)).item())
    return -len(shape) <= axis < len(shape) and shape[axis] == 1


def _explicit_windows(graph: Graph) -> Graph:
    nodes = (_explicit_window(graph, node) for node in graph.nodes)
    return replace(graph, nodes=tuple(_explicit_transposed(graph, node) for node in nodes))


def _explicit_window(graph: Graph, node: Node) -> Node:
    if node.op not in _WINDOWED or node.domain or not graph.has_type(node.inputs[0]):
        return node
    rank = len(graph.shape(node.inputs[0])) - 2
    attributes: dict[str, Attribute] = dict(node.attributes)
    if node.op == "Conv" and "kernel_shape" not in attributes:
        attributes["kernel_shape"] = graph.shape(node.inputs[1])[2:]
    attributes.setdefault("strides", (1,) * rank)
    if node.op != "AveragePool":  # which knows dilations only since operator set 19
        attributes.setdefault("dilations", (1,) * rank)
    auto = attributes.pop("auto_pad", "NOTSET")
    if auto == "VALID":
        attributes["pads"] = (0,) * (2 * rank)
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        attributes["pads"] = _same_pads(graph, node, attributes, upper=auto == "SAME_UPPER")
    elif auto != "NOTSET":
        raise node.refuse(f"attribute auto_pad={auto!r} is not supported")
    attributes.setdefault("pads", (0,) * (2 * rank))
    return replace(node, attributes=attributes)


def _explicit_transposed(graph: Graph, node: Node) -> Node:
    """Write the pads of a ConvTranspose that states its output's size instead.

    An odd pad stands at the end for SAME_UPPER and at the beginning else, as the operator's
    definition says. Sizes that no pads explain stay as they are.
    """
    stated: dict[str, Attribute] = dict(node.attributes)
    auto = stated.pop("auto_pad", "NOTSET")
    if (
        node.op != "ConvTranspose"
        or node.domain
        or not {"auto_pad", "output_shape"} & {*node.attributes}
    ):
        return node
    if not all(graph.has_type(name) for name in node.inputs[:2]):
        return node
    size, kernel = (graph.shape(name)[2:] for name in node.inputs[:2])
    wanted = stated.pop("output_shape", None)
    if wanted is None and auto == "NOTSET":
        return replace(node, attributes=stated)
    stride, dilation, extra = (
        as_ints(np.asarray(stated.get(name, (default,) * len(size))))
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    full = [
        (n - 1) * s + e + (k - 1) * d + 1
        for n, s, e, k, d in zip(size, stride, extra, kernel, dilation, strict=True)
    ]
    if wanted is not None:
        target = as_ints(np.asarray(wanted))
    elif auto == "VALID":
        target = tuple(full)
    else:
        target = tuple(n * s for n, s in zip(size, stride, strict=True))
    total = [f - t for f, t in zip(full, target, strict=True)]
    if min(total) < 0:
        return node
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    stated["pads"] = tuple(small + large if auto == "SAME_UPPER" else large + small)
    return replace(node, attributes=stated)


def _global_pools(graph: Graph) -> Graph:
    """Write a pool over the whole image as the global one that it is.

    Its result is a mean or maximum over all pixels, for which kernels are better.
    """
    return replace(graph, nodes=tuple(_global_pool(graph, node) for node in graph.nodes))


def _global_pool(graph: Graph, node: Node) -> Node:
    pool = node.op in ("MaxPool", "AveragePool") and not node.domain
    if not pool or any(node.outputs[1:]) or not graph.has_type(node.inputs[0]):
        return node
    stated = node.attributes
    whole = stated.get("kernel_shape") == graph.shape(node.inputs[0])[2:]
    dilated = any(step != 1 for step in as_ints(np.asarray(stated.get("dilations", (1,)))))
    if not whole or dilated or any(as_ints(np.asarray(stated.get("pads", ())))):
        return node
    return replace(node, op=f"Global{node.op}", attributes={})


def _same_pads(
    graph: Graph, node: Node, attributes: dict[str, Attribute], *, upper: bool
) -> tuple[int, ...]:
    size = graph.shape(node.inputs[0])[2:]
    kernel, stride = (as_ints(np.asarray(attributes[n])) for n in ("kernel_shape", "strides"))
    dilation = as_ints(np.asarray(attributes.get("dilations", (1,) * len(size))))
    total = [
        max((-(-i // s) - 1) * s + (k - 1) * d + 1 - i, 0)
        for i, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return tuple(small + large) if upper else tuple(large + small)


def _absorb_pads(graph: Graph) -> Graph:
    """Move a zero Pad of the image axes into the convolution that alone reads it."""
    readers = graph.consumers()
    nodes = {node.name: node for node in graph.nodes}
    for node in graph.nodes:
        pads = _image_pads(graph, node)
        follower = graph.sole_consumer(node.outputs[0], readers)
        if pads is None or follower is None or follower.op != "Conv":
            continue
        if follower.inputs[0] != node.outputs[0]:
            continue
        present = nodes[follower.name]
        if "pads" not in present.attributes:
            continue
        total = tuple(
            a + b
            for a, b in zip(as_ints(np.asarray(present.attributes["pads"])), pads, strict=True)
        )
        nodes[follower.name] = replace(
            present,
            inputs=(node.inputs[0], *present.inputs[1:]),
            attributes={**present.attributes, "pads": total},
        )
    return prune_unused(replace(graph, nodes=tuple(nodes[node.name] for node in graph.nodes)))


def _image_pads(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """Return begin and end pads of the image axes if ``node`` pads only those, with zeros."""
    if node.op != "Pad" or node.domain or node.attributes.get("mode", "constant") != "constant":
        return None
    amounts, value, axes = (node.optional_input(i) for i in (1, 2, 3))
    if axes or amounts not in graph.constants or (value and value not in graph.constants):
        return None
    if value and np.any(graph.constants[value] != 0):
        return None
    pads = as_ints(graph.constants[amounts])
    rank = len(pads) // 2
    if (
        rank < _SMALLEST_IMAGE_RANK
        or any(pads[i] or pads[rank + i] for i in (0, 1))
        or min(pads) < 0
    ):
        return None
    return pads[2:rank] + pads[rank + 2 :]


def _dense_layers(graph: Graph) -> Graph:
    """Write every matrix product of a 2-D tensor with constant weights as a plain Gemm."""
    constants = dict(graph.constants)
    taken = tensor_names(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        dense = _dense(graph, node)
        if dense is None:
            nodes.append(node)
            continue
        weights, bias = dense
        weight_name = fresh_name(f"{node.name}_weight_rows", taken)
        bias_name = fresh_name(f"{node.name}_bias_row", taken | {weight_name})
        taken |= {weight_name, bias_name}
        constants |= {weight_name: weights, bias_name: bias}
        nodes.append(
            replace(
                node,
                op="Gemm",
                inputs=(node.inputs[0], weight_name, bias_name),
                attributes={"transB": 1},
            )
        )
    return prune_unused(replace(graph, nodes=tuple(nodes), constants=constants))


def _dense(graph: Graph, node: Node) -> tuple[Array, Array] | None:
    """Return weights ``(outputs, inputs)`` and bias ``(outputs,)`` where ``node`` is dense."""
    if node.op not in ("Gemm", "MatMul") or node.domain:
        return None
    matrix = graph.constants.get(node.inputs[1])
    if matrix is None or matrix.ndim != _MATRIX_RANK or matrix.dtype != np.float32:
        return None
    source = node.inputs[0]
    if not graph.has_type(source) or len(graph.shape(source)) != _MATRIX_RANK:
        return None
    if node.op == "MatMul":
        rows = np.ascontiguousarray(matrix.T).astype(np.float32)
        return rows, np.zeros(rows.shape[0], np.float32)
    return _plain_gemm(graph, node, matrix)


def _plain_gemm(graph: Graph, node: Node, matrix: Array) -> tuple[Array, Array] | None:
    stated = node.attributes
    alpha, beta = stated.get("alpha", 1.0), stated.get("beta", 1.0)
    if stated.get("transA", 0) != 0 or not isinstance(alpha, float) or not isinstance(beta, float):
        return None
    numbers = matrix.astype(np.float64)
    rows = alpha * (numbers if stated.get("transB", 0) == 1 else numbers.T)
    name = node.optional_input(2)
    if name and name not in graph.constants:
        return None
    offset = beta * graph.constants[name].astype(np.float64) if name else np.zeros(1)
    outputs = rows.shape[0]
    one_row = offset.size == outputs and offset.shape[-1] == outputs
    if offset.size != 1 and not one_row:
        return None
    row = np.broadcast_to(offset.reshape(-1), (outputs,))
    return np.ascontiguousarray(rows).astype(np.float32), row.astype(np.float32)


def _plain_biases(graph: Graph) -> Graph:
    """Give every convolution a bias: quantized kernels expect one."""
    constants = dict(graph.constants)
    taken = tensor_names(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        bare = node.op == "Conv" and not node.domain and not node.optional_input(2)
        if bare and node.inputs[1] in graph.constants:
            name = fresh_name(f"{node.name}_zero_bias", taken)
            taken.add(name)
            weights = graph.constants[node.inputs[1]]
            constants[name] = np.zeros(weights.shape[0], weights.dtype)
            nodes.append(replace(node, inputs=(*node.inputs[:2], name)))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _own_weights(graph: Graph) -> Graph:
    """Copy weights and biases that anything else uses too: each layer's may change alone."""
    constants = dict(graph.constants)
    taken = tensor_names(graph)
    owned = set(graph.outputs)
    for node in graph.nodes:
        layer = node.op in _WEIGHTED and not node.domain
        owned.update(node.inputs[:1] + node.inputs[3:] if layer else node.inputs)
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = list(node.inputs)
        if node.op in _WEIGHTED and not node.domain:
            for index in (1, 2):
                name = node.optional_input(index)
                if name not in graph.constants:
                    continue
                if name in owned:
                    copy = fresh_name(f"{name}_of_{node.name}", taken)
                    taken.add(copy)
                    constants[copy] = graph.constants[name]
                    inputs[index] = copy
                owned.add(inputs[index])
        nodes.append(replace(node, inputs=tuple(inputs)))
    return replace(graph, nodes=tuple(nodes), constants=constants)
