"""Tiny models with known answers, made on the spot (needs the package ``onnx``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from edgeops.contracts.manifest import InputSpec, Task
from edgeops.contracts.preprocess import Resize, Step

COLORS: Final = ("red", "green", "blue")
SIDE: Final = 8
SIGNAL: Final = 16

COLOR_TASK: Final = Task(type="classification", labels=COLORS, activation="none")
COLOR_INPUT: Final = InputSpec(
    layout="nchw",
    color="rgb",
    preprocess=(Step(resize=Resize(size=(SIDE, SIDE))), Step(scale=1 / 255)),
)
ANOMALY_TASK: Final = Task(type="anomaly", score="mse", threshold=0.05)
ANOMALY_INPUT: Final = InputSpec()

_OPSET: Final = 13
_IR_VERSION: Final = 8
_SHARPNESS: Final = 12.0


def color_classifier(
    path: Path, *, turn: int = 0, sharpness: float = _SHARPNESS, nan: bool = False
) -> Path:
    """Write a classifier ``[1, 3, 8, 8]`` (RGB, 0..1) of the prevailing colour; return its path.

    Args:
        path: Of the ``.onnx`` file.
        turn: Rotates the classes: with 1 it calls red what is green: a wrong label mix.
        sharpness: How sure it is; other weights, same answers.
        nan: Make every output NaN.
    """
    from onnx import helper  # noqa: PLC0415  # only who makes models needs it

    weights = np.roll(np.eye(len(COLORS)) * sharpness, turn, axis=1)
    bias = np.full(len(COLORS), np.nan if nan else 0.0)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten", axis=1),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], "classes"),
        helper.make_node("Softmax", ["logits"], ["output"], "softmax", axis=1),
    ]
    return _save(
        path,
        nodes,
        {"weights": weights, "bias": bias},
        shapes=((1, len(COLORS), SIDE, SIDE), (1, len(COLORS))),
    )


def clipping_autoencoder(path: Path, *, limit: float = 1.0) -> Path:
    """Write an autoencoder ``[1, 16]`` that reproduces values of -limit..limit and no others."""
    from onnx import helper  # noqa: PLC0415  # only who makes models needs it

    nodes = [
        helper.make_node("MatMul", ["input", "identity"], ["same"], "copy"),
        helper.make_node("Clip", ["same", "low", "high"], ["output"], "clip"),
    ]
    weights = {"identity": np.eye(SIGNAL), "low": np.array(-limit), "high": np.array(limit)}
    return _save(path, nodes, weights, shapes=((1, SIGNAL), (1, SIGNAL)))


def color_frame(
    color: str, *, width: int = 32, height: int = 24
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return an RGB image ``[height, width, 3]`` that is mostly ``color``."""
    image = np.full((height, width, len(COLORS)), 20, dtype=np.uint8)
    image[..., COLORS.index(color)] = 220
    return image


def _save(
    path: Path,
    nodes: Sequence[object],
    weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
    *,
    shapes: tuple[Sequence[int], Sequence[int]],
) -> Path:
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415  # see above

    graph = helper.make_graph(
        nodes,
        "tiny",  # not the file's name: the same model gives the same bytes anywhere
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shapes[0])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shapes[1])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    made.ir_version = _IR_VERSION
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString(deterministic=True))
    return path
