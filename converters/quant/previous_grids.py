"""Read the grids of an earlier release back from its int8 file, by tensor name."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import as_ints
from converters.graph import Graph, Node
from converters.onnx_format import read_model
from converters.onnx_lifting import lift_and_bind
from converters.quant.plan import GRID_BOUNDS, Grid, GridType
from edgeops.bundle import opened
from edgeops.contracts.scalars import Runtime
from edgeops.errors import StorageError, TrustError, UsageError
from edgeops.trust import file_sha256

_MADE_BY_US: Final = ("_real", "_grid")
"""Ends of names that the ONNX writer gives to the two sides of a pair."""

_UNSIGNED_SHIFT: Final = 128


def read_grids(bundle: Path) -> Mapping[str, Grid]:
    """Return the int8 grid of every activation and weight of the bundle's int8 file.

    The ONNX file is preferred, because all its tensors have names; both hold the same plan.

    Args:
        bundle: Folder or ``.edgeops`` file of an earlier release.

    Raises:
        StorageError, ContractError: The bundle cannot be read.
        TrustError: The int8 file is not the one that its manifest names.
        UsageError: The bundle holds no int8 file.
        ConversionError: The file is damaged.
    """
    with tempfile.TemporaryDirectory() as folder, opened(bundle, Path(folder)) as known:
        integer = sorted(
            (v for v in known.manifest.variants if v.precision == "int8"), key=lambda v: v.runtime
        )
        if not integer:
            raise UsageError(f"{bundle} holds no int8 file whose scales could be kept")
        variant = integer[0]  # "onnx" comes before "tflite"
        path = known.path(variant.file)
        if not path.is_file():
            raise StorageError(f"{bundle}: {variant.file} is missing")
        if file_sha256(path) != variant.sha256:
            raise TrustError(f"{bundle}: {variant.file} is not the file of its manifest")
        return read_file(path, variant.runtime)


def read_file(path: Path, runtime: Runtime) -> Mapping[str, Grid]:
    """Return the int8 grid of every activation and weight of one model file.

    Raises:
        StorageError: The file cannot be read.
        ConversionError: It is damaged.
    """
    if runtime == "onnx":
        return _of_onnx(lift_and_bind(read_model(path)))
    return _of_tflite(path)


def _of_onnx(graph: Graph) -> dict[str, Grid]:
    grids: dict[str, Grid] = {}
    for node in graph.nodes:
        grid = _pair_grid(graph, node)
        if grid is None:
            continue
        name = node.inputs[0] if node.op == "QuantizeLinear" else node.outputs[0]
        grids.setdefault(name, grid)
        for end in _MADE_BY_US:
            grids.setdefault(name.removesuffix(end), grid)
    return grids


def _pair_grid(graph: Graph, node: Node) -> Grid | None:
    """Return the int8 grid of a quantize or dequantize node with constant numbers."""
    if node.op not in ("QuantizeLinear", "DequantizeLinear") or not node.optional_input(2):
        return None
    scales, points = graph.constants.get(node.inputs[1]), graph.constants.get(node.inputs[2])
    if scales is None or points is None or points.dtype not in (np.int8, np.uint8):
        return None
    shift = _UNSIGNED_SHIFT if points.dtype == np.uint8 else 0
    weight = node.op == "DequantizeLinear" and node.inputs[0] in graph.constants
    axis = node.attributes.get("axis", 1)
    return _grid(
        [float(value) for value in np.atleast_1d(scales).ravel()],
        [point - shift for point in as_ints(points)],
        axis if scales.ndim and isinstance(axis, int) else None,
        symmetric=weight,
    )


def _of_tflite(path: Path) -> dict[str, Grid]:
    from converters.importing.tflite.file import parse_tflite  # noqa: PLC0415 - ONNX alone needs no TFLite

    file = parse_tflite(path.read_bytes(), path.name)
    grids: dict[str, Grid] = {}
    for graph in file.graphs[:1]:
        names = {index: tensor.name for index, tensor in enumerate(graph.tensors)}
        for operator in graph.operators:
            # The quantized form of a float tensor has no name of its own.
            if operator.code == "QUANTIZE" and graph.tensors[operator.inputs[0]].kind == "float32":
                names[operator.outputs[0]] = names[operator.inputs[0]]
        for index, tensor in enumerate(graph.tensors):
            numbers = tensor.quantization
            if tensor.kind != "int8" or numbers is None:
                continue
            grid = _grid(
                list(numbers.scale),
                list(numbers.zero_point) or [0] * len(numbers.scale),
                numbers.axis if len(numbers.scale) > 1 else None,
                symmetric=tensor.data is not None,
            )
            if grid is not None:
                grids.setdefault(names[index], grid)
    return grids


def _grid(
    scales: list[float], points: list[int], axis: int | None, *, symmetric: bool
) -> Grid | None:
    """Return a grid, or ``None`` where a file's numbers make none."""
    kind: GridType = "int8"
    low, high = GRID_BOUNDS[kind]
    if len(scales) != len(points) or not scales or (axis is None and len(scales) != 1):
        return None
    if not all(0 < scale < np.inf for scale in scales):
        return None
    if not all(low <= point <= high for point in points):
        return None
    return Grid(
        scale=tuple(scales), zero_point=tuple(points), axis=axis, dtype=kind, symmetric=symmetric
    )
