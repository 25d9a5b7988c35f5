"""What a hostile ONNX file may try before anything computes with it.

A few kilobytes of functions that call each other twice stand for more nodes than fit into
memory, and every library that writes them out tries. Tensors may name any file as theirs.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import onnx

from edgeops.errors import ConversionError

MAX_NODES: Final = 100_000
"""Of a model with its functions written out; no model for a device has as many."""

MAX_DEPTH: Final = 64
"""Of functions that call functions."""

MAX_DIGITS: Final = 19
"""Of a length in bytes, as a text."""

_Key = tuple[str, str]


def check_functions(model: onnx.ModelProto, place: str) -> None:
    """Refuse functions that call themselves, or that stand for too many nodes.

    Raises:
        ConversionError: There are such; it begins with ``place``.
    """
    if not model.functions:
        return
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[_Key, int] = {}

    def size(nodes: Iterable[onnx.NodeProto], callers: tuple[_Key, ...]) -> int:
        total = 0
        for node in _with_inner(nodes):
            key = (node.domain, node.op_type)
            if key not in functions:
                total += 1
                continue
            if key in callers or len(callers) > MAX_DEPTH:
                raise ConversionError(
                    f"{place}: its function {key[1][:100]!r} calls itself, or others without end"
                )
            if key not in sizes:
                sizes[key] = size(functions[key].node, (*callers, key))
            total += sizes[key]
            if total > MAX_NODES:
                raise ConversionError(
                    f"{place}: its functions stand for more than {MAX_NODES} nodes"
                )
        return total

    size(model.graph.node, ())


def external_tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Return every tensor of ``model`` that keeps its data in another file."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    found = list(model.graph.initializer)
    for node in _with_inner(nodes):
        for attribute in node.attribute:
            found += [attribute.t, *attribute.tensors]
            for graph in (attribute.g, *attribute.graphs):
                found += graph.initializer
    return [tensor for tensor in found if tensor.data_location == tensor.EXTERNAL]


def check_external(tensors: Iterable[onnx.TensorProto], folder: Path, max_bytes: int) -> None:
    """Refuse external data that lie outside ``folder``, are no file, or together too large.

    Raises:
        ConversionError: They are; names the tensor.
    """
    total = 0
    for tensor in tensors:
        total += _external_bytes(tensor, folder)
        if total > max_bytes:  # many tensors may share one file
            raise ConversionError(f"external data are larger than {max_bytes} bytes")


def _external_bytes(tensor: onnx.TensorProto, folder: Path) -> int:
    """Return how many bytes will be read for ``tensor``, at most."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = PurePosixPath(entries.get("location", ""))
    target = folder / location
    inside = (
        location.name != ""
        and "\0" not in str(location)
        and not location.is_absolute()
        and ".." not in location.parts
        and target.resolve().is_relative_to(folder.resolve())
    )
    if not inside:
        raise ConversionError(
            f"tensor {tensor.name!r} keeps its data in {str(location)!r}, "
            "outside the model's folder"
        )
    if not target.is_file():
        raise ConversionError(f"tensor {tensor.name!r} keeps its data in {location}: no such file")
    length = entries.get("length", "")
    size = target.stat().st_size
    return min(int(length), size) if length.isdecimal() and len(length) <= MAX_DIGITS else size


def _with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield ``nodes`` and those of the graphs inside them; protobuf bounds the depth."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_inner(graph.node)
