"""YOLOv5- and YOLOv8-like heads, whose boxes are pixels already."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.postprocess.classification import sigmoid
from edgeops.inference.postprocess.heads import Candidates, corners, strongest

_BOX = 4

Form = Literal["objectness", "rows", "columns"]


class YoloHead:
    """``[1, n, 5 + classes]`` (v5: with an object score), or ``[1, 4 + classes, n]`` (v8).

    Boxes are cx, cy, w, h in pixels of the tensor. ``[1, n, 4 + classes]`` is understood too.

    Raises:
        InferenceError: The output has another shape than the labels ask for.
    """

    def __init__(self, task: Task, outputs: tuple[TensorSpec, ...]) -> None:
        self._task = task
        self._form = _form(outputs[0], len(task.labels))

    def __call__(self, outputs: Sequence[Floats], _size: tuple[int, int]) -> Candidates:
        """Return the boxes whose score reaches the task's threshold."""
        rows = outputs[0][0].T if self._form == "columns" else outputs[0][0]
        first = _BOX + 1 if self._form == "objectness" else _BOX
        scores = rows[:, first:]
        objects = rows[:, _BOX : _BOX + 1] if self._form == "objectness" else None
        if self._task.activation == "sigmoid":
            scores = sigmoid(scores)
            objects = None if objects is None else sigmoid(objects)
        if objects is not None:
            scores = scores * objects
        classes = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), classes]
        kept = strongest(np.flatnonzero(best >= self._task.score_threshold), best)
        return Candidates(corners(rows[kept, :_BOX]), best[kept], classes[kept])


def _form(spec: TensorSpec, classes: int) -> Form:
    shape = spec.shape
    if len(shape) == 3:  # noqa: PLR2004  # batch, and two axes in either order
        if shape[2] == _BOX + 1 + classes:
            return "objectness"
        if shape[1] == _BOX + classes:
            return "columns"
        if shape[2] == _BOX + classes:
            return "rows"
    raise InferenceError(
        f"the output {spec.name!r} has the shape {list(shape)}, a YOLO head for {classes} labels"
        f" has [1, n, {_BOX + 1 + classes}] or [1, {_BOX + classes}, n]"
    )
