"""A linear autoencoder as a bundle: principal components of the first, healthy part of a series.

Enough to see a machine leave its usual shape of day; made in milliseconds from the data itself,
so that no trained file is needed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeops.contracts.manifest import InputSpec, Task
from edgeops.contracts.preprocess import Normalize, Step
from edgeops.testing.bundles import make_bundle
from edgeops.trust import SigningKey

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the healthy part taught.

    Attributes:
        center: ``[size]``: mean window after standardizing.
        components: ``[k, size]``: orthonormal rows.
        threshold: Twice the 99.5th percentile of the healthy windows' error.
    """

    mean: float
    std: float
    center: Values
    components: Values
    threshold: float


def fit(healthy: Values, *, size: int, step: int, components: int) -> Fitted:
    """Fit windows of ``size`` values, ``step`` apart, of a healthy series."""
    mean, std = float(healthy.mean()), float(healthy.std())
    series = (healthy - mean) / std
    windows = np.lib.stride_tricks.sliding_window_view(series, size)[::step]
    center = windows.mean(axis=0)
    _, _, rows = np.linalg.svd(windows - center, full_matrices=False)
    kept = rows[:components]
    error = (((windows - center) - (windows - center) @ kept.T @ kept) ** 2).mean(axis=1)
    return Fitted(mean, std, center, kept, 2.0 * float(np.quantile(error, 0.995)))


def write_bundle(folder: Path, fitted: Fitted) -> Path:
    """Write the bundle; its anomaly score is the mean squared error of the reconstruction."""
    size = len(fitted.center)
    weights = {
        "center": fitted.center,
        "down": fitted.components.T,
        "up": fitted.components,
    }
    nodes = [
        helper.make_node("Sub", ["input", "center"], ["centered"]),
        helper.make_node("MatMul", ["centered", "down"], ["code"]),
        helper.make_node("MatMul", ["code", "up"], ["rebuilt"]),
        helper.make_node("Add", ["rebuilt", "center"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear-autoencoder",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, size))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, size))],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path = folder.with_suffix(".onnx")
    onnx.save(model, path)
    make_bundle(
        folder,
        task=Task(type="anomaly", score="mse", threshold=fitted.threshold),
        input=InputSpec(
            preprocess=(Step(normalize=Normalize(mean=(fitted.mean,), std=(fitted.std,))),)
        ),
        key=SigningKey.generate(),
        onnx_path=path,
        name="linear-autoencoder",
    )
    return folder
