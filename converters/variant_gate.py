"""Hold a written model file against the float graph: outputs on a few samples, data or no data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Array, Feeds
from converters.graph import Graph
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.variants import VariantFile
from edgeops.contracts.manifest import TensorSpec
from edgeops.contracts.scalars import Layout
from edgeops.errors import ConversionError
from edgeops.inference.arithmetic import dequantize, quantize
from edgeops.inference.arrays import numpy_dtype
from edgeops.inference.runtimes.loading import open_model
from edgeops.inference.runtimes.runtime import RuntimeModel

MAX_NOISE: Final = 0.05
"""Error energy accepted of a compressed file where no data can judge it: 13 dB."""

MAX_FLOAT_DIFFERENCE: Final = 1e-3
"""Relative; another runtime sums float32 in another order."""


def require_faithful(
    graph: Graph,
    path: Path,
    made: VariantFile,
    feeds: Sequence[Feeds],
    *,
    layout: Layout,
    judged: bool,
) -> None:
    """Refuse a file that does not compute what ``graph`` does.

    Any float32 difference is a fault of ours. In other precisions the task's metric decides
    where there are data; without, only nonsense is refused.

    Args:
        graph: The float graph that the file was made from.
        path: The file.
        made: What it is.
        feeds: Samples as the graph's inputs.
        layout: Of the graph's image inputs.
        judged: Whether a metric will judge the file on data.

    Raises:
        InferenceError: The file does not run.
        ConversionError: Its outputs are off.
    """
    reference = OrtModel(serialize(graph))
    expected = [reference.run(sample) for sample in feeds]
    model = open_model(path, made.output.runtime)
    try:
        found = [outputs_of(graph, made, model, sample, layout) for sample in feeds]
    finally:
        model.close()
    noise = relative_noise(expected, found)
    exact = made.output.precision == "float32"
    if judged and not exact:
        return
    limit = MAX_FLOAT_DIFFERENCE**2 if exact else MAX_NOISE
    if not noise <= limit:  # also refuses NaN
        raise ConversionError(
            f"{made.file} does not compute what the original does: its outputs are off by "
            f"{noise:.3g} of their energy, at most {limit:.3g} is accepted"
        )


def tensors_for(feeds: Feeds, inputs: Sequence[TensorSpec], layout: Layout) -> list[Array]:
    """Return a feed, given in the graph's layout, as the tensors that a file takes."""
    tensors = []
    for spec in inputs:
        tensor = feeds[spec.name]
        if layout == "nchw" and spec.layout == "nhwc":
            tensor = tensor.transpose(0, 2, 3, 1)
        tensor = np.ascontiguousarray(tensor)
        if spec.scale is not None:
            stored = np.empty(tensor.shape, numpy_dtype(spec.dtype))
            quantize(tensor.astype(np.float32), spec, stored)
            tensor = stored
        tensors.append(tensor)
    return tensors


def outputs_of(
    graph: Graph, made: VariantFile, model: RuntimeModel, feeds: Feeds, layout: Layout
) -> dict[str, Array]:
    """Return a loaded file's outputs for one sample as real numbers, by the graph's names."""
    tensors = model.run(tensors_for(feeds, made.inputs, layout))
    return {
        name: tensor if spec.scale is None else dequantize(tensor, spec)
        for name, spec, tensor in zip(graph.outputs, made.outputs, tensors, strict=True)
    }
