"""Class scores: classification and keyword spotting."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.contracts.result import Result
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.packing import Prepared

_PAIR = 2


class ClassDecoder:
    """Scores of the first output; windows of one sample are averaged.

    A model with one single output and two labels gives the probability of the second label, which
    is the answer from the task's ``threshold`` on (0.5 where the manifest names none).

    Raises:
        InferenceError: The number of outputs is not the number of labels.
    """

    def __init__(self, task: Task, outputs: tuple[TensorSpec, ...]) -> None:
        classes = int(np.prod(outputs[0].shape))
        self._binary = classes == 1 and len(task.labels) == _PAIR
        if classes != len(task.labels) and not self._binary:
            raise InferenceError(
                f"the output {outputs[0].name!r} has {classes} classes,"
                f" the manifest names {len(task.labels)} labels"
            )
        self._task = task

    def __call__(self, _prepared: Prepared, outputs: Sequence[Sequence[Floats]]) -> Result:
        """Return the best class and all scores; see ``ResultDecoder``."""
        task = self._task
        rows = [activate(window[0].reshape(-1), task.activation) for window in outputs]
        values = rows[0] if len(rows) == 1 else cast("Floats", np.mean(rows, axis=0))
        if self._binary:
            positive = float(values[0])
            scores = [1.0 - positive, positive]
            best = int(positive >= (0.5 if task.threshold is None else task.threshold))
        else:
            scores = cast("list[float]", values.tolist())
            best = int(values.argmax())
        return Result(
            task=task.type, label=task.labels[best], score=scores[best], scores=tuple(scores)
        )


def activate(values: Floats, activation: str) -> Floats:
    """Return probabilities: ``softmax`` over all values, ``sigmoid`` of each, or as they are."""
    if activation == "softmax":
        exponentials = np.exp(values - values.max())
        return cast("Floats", exponentials / exponentials.sum())
    if activation == "sigmoid":
        return sigmoid(values)
    return values


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) without overflow for any finite x."""
    half = values * np.float32(0.5)
    return cast("Floats", (np.tanh(half) + np.float32(1.0)) * np.float32(0.5))
