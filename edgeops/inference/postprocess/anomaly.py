"""How far a sample is from what the model has learnt to be normal."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.contracts.result import Result
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.packing import Prepared

NORMAL: Final = "normal"
ANOMALY: Final = "anomaly"


class AnomalyDecoder:
    """Reconstruction error (``mse``, ``mae``) or the model's own score (``output``).

    The error is taken against the real numbers before quantization, so that all variants of a
    model are judged by the same yardstick. Windows of one sample become one score by ``mean`` or
    ``max``. With a threshold the label is ``anomaly`` from it on, else ``normal``.

    Raises:
        InferenceError: A reconstruction has another shape than the input.
    """

    def __init__(
        self, task: Task, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        self._task = task
        reconstructs = task.score != "output"
        if reconstructs and np.prod(inputs[0].shape) != np.prod(outputs[0].shape):
            raise InferenceError(
                f"the output {outputs[0].name!r} has the shape {list(outputs[0].shape)},"
                f" a reconstruction of {list(inputs[0].shape)} was expected"
            )

    def __call__(self, prepared: Prepared, outputs: Sequence[Sequence[Floats]]) -> Result:
        """Return the anomaly score; see ``ResultDecoder``."""
        task = self._task
        if task.score == "output":
            scores = np.array([float(window[0].reshape(-1)[0]) for window in outputs])
        else:
            wanted = np.stack([row.reshape(-1) for row in prepared.features])
            found = np.stack([window[0].reshape(-1) for window in outputs])
            difference = found - wanted
            distance = np.square(difference) if task.score == "mse" else np.abs(difference)
            scores = distance.mean(axis=1)
        score = float(scores.max() if task.aggregate == "max" else scores.mean())
        label = ""
        if task.threshold is not None:
            label = ANOMALY if score >= task.threshold else NORMAL
        return Result(task="anomaly", label=label, score=score)


def needs_features(task: Task) -> bool:
    """Return whether the task compares outputs with the input's real numbers."""
    return task.type == "anomaly" and task.score != "output"
