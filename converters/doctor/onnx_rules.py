"""Rules for ONNX files; each looks at the whole file and yields what it finds."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np

from converters.arrays import Array
from converters.doctor.findings import Finding, finding
from converters.doctor.onnx_file import OnnxFile
from converters.doctor.weights import count_not_finite, dead_channels
from converters.graph import Node
from converters.importing.importer import ALREADY_QUANTIZED

Check: TypeAlias = Callable[[OnnxFile], Iterator[Finding]]

CHANNEL_SCALES_SINCE: Final = 13
_QUANTIZERS: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})


def operator_set(file: OnnxFile) -> Iterator[Finding]:
    """Operator sets that tools no longer know."""
    if 0 < file.opset < CHANNEL_SCALES_SINCE:
        yield finding("old-opset", "", f"operator set {file.opset}")


def names(file: OnnxFile) -> Iterator[Finding]:
    """Nodes without a name of their own."""
    counts = Counter(node.name for node in file.nodes)
    unnamed = counts.pop("", 0)
    repeated = sum(count - 1 for count in counts.values())
    if unnamed or repeated:
        yield finding(
            "unnamed-nodes",
            "",
            f"{unnamed} of {len(file.nodes)} nodes have no name, {repeated} share one",
        )


def quantization(file: OnnxFile) -> Iterator[Finding]:
    """Whether and how the file is quantized."""
    kinds = Counter(node.op for node in file.nodes if node.op in ALREADY_QUANTIZED)
    if not kinds:
        return
    listed = ", ".join(f"{count} {op}" for op, count in sorted(kinds.items()))
    yield finding("quantized", "", listed)
    quantizers = [node for node in file.nodes if node.op in _QUANTIZERS]
    early = [n for n in quantizers if _constant(file, n, 1).size > 1]
    if early and file.opset < CHANNEL_SCALES_SINCE:
        yield finding(
            "channel-scales-too-early",
            early[0].name or early[0].outputs[0],
            f"{len(early)} nodes with scales per channel in operator set {file.opset}",
        )
    signed = [
        node
        for node in quantizers
        if node.op == "QuantizeLinear"
        and node.inputs[0] not in file.constants
        and _constant(file, node, 2).dtype == np.int8
    ]
    if signed:
        yield finding("s8s8", signed[0].outputs[0], f"{len(signed)} activations are int8")


def _constant(file: OnnxFile, node: Node, index: int) -> Array:
    name = node.optional_input(index)
    return file.constants.get(name, np.zeros(0, np.float32))


def batch_norms(file: OnnxFile) -> Iterator[Finding]:
    """BatchNormalization that stands alone."""
    count = sum(node.op == "BatchNormalization" and not node.domain for node in file.nodes)
    if count:
        yield finding("batchnorm", "", f"{count} nodes")


def graphs(file: OnnxFile) -> Iterator[Finding]:
    """Control flow."""
    if file.with_graphs:
        counts = Counter(file.with_graphs)
        listed = ", ".join(f"{count} {op}" for op, count in sorted(counts.items()))
        yield finding("control-flow", "", listed)


def domains(file: OnnxFile) -> Iterator[Finding]:
    """Operators of other domains."""
    counts = Counter((node.domain, node.op) for node in file.nodes if node.domain)
    for (domain, op), count in sorted(counts.items()):
        yield finding("other-domain", f"{domain}.{op}", f"used {count} times")


def weights(file: OnnxFile) -> Iterator[Finding]:
    """Weights that are not finite, and channels that are all zero."""
    for name, value in file.constants.items():
        if count := count_not_finite(value):
            yield finding("not-finite", name, f"{count} of {value.size} elements")
    for node in file.nodes:
        axis = _channel_axis(node, _constant(file, node, 1))
        value = _constant(file, node, 1)
        if axis is not None and (count := dead_channels(value, axis)):
            yield finding("dead-channels", node.inputs[1], f"{count} of {value.shape[axis]}")


def _channel_axis(node: Node, value: Array) -> int | None:
    """Return the axis of output channels in the weights of ``node``."""
    if node.domain or value.size == 0:
        return None
    if node.op == "Conv":
        return 0
    if node.op == "Gemm":
        return 0 if node.attributes.get("transB", 0) == 1 else 1
    if node.op == "MatMul" and value.ndim > 1:
        return value.ndim - 1
    return None


def halves(file: OnnxFile) -> Iterator[Finding]:
    """Constants in float16 or bfloat16."""
    count = sum(value.dtype.name in ("float16", "bfloat16") for value in file.constants.values())
    if count:
        yield finding("half-precision", "", f"{count} constants")


def open_shapes(file: OnnxFile) -> Iterator[Finding]:
    """Inputs whose shape is left open."""
    for port in file.inputs:
        if any(isinstance(size, str) or size < 1 for size in port.dims):
            yield finding("open-shape", port.name, f"{list(port.dims)}")


CHECKS: Final[tuple[Check, ...]] = (
    operator_set,
    names,
    quantization,
    batch_norms,
    graphs,
    domains,
    weights,
    halves,
    open_shapes,
)
