"""FastestDet: one small grid, every cell with an object score, a box and class scores."""

from collections.abc import Sequence

import numpy as np

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.postprocess.classification import sigmoid
from edgeops.inference.postprocess.heads import Candidates, corners, strongest

_BOX_AND_OBJECT = 5
_OBJECT_POWER = 0.6
_CLASS_POWER = 0.4


class FastestdetHead:
    """``[1, 5 + labels, rows, columns]``: object, x, y, w, h, class scores of each cell.

    Object and class scores are probabilities. Box centre = (column + tanh x, row + tanh y) in
    cells, size = (sigmoid w, sigmoid h) as shares of the image.
    Score = object ** 0.6 * class ** 0.4.

    Raises:
        InferenceError: The output has another shape than the labels ask for.
    """

    def __init__(self, task: Task, outputs: tuple[TensorSpec, ...]) -> None:
        self._task = task
        shape, channels = outputs[0].shape, _BOX_AND_OBJECT + len(task.labels)
        if len(shape) != 4 or shape[1] != channels:  # noqa: PLR2004 - batch, channels, rows, columns
            raise InferenceError(
                f"the output {outputs[0].name!r} has the shape {list(shape)},"
                f" a FastestDet head for {len(task.labels)} labels has [1, {channels}, h, w]"
            )

    def __call__(self, outputs: Sequence[Floats], size: tuple[int, int]) -> Candidates:
        """Return the boxes whose score reaches the task's threshold."""
        _, channels, height, width = outputs[0].shape
        rows = outputs[0][0].reshape(channels, height * width).T
        classes = rows[:, _BOX_AND_OBJECT:]
        best = classes.argmax(axis=1)
        # Integer models may answer slightly below zero, which has no real power.
        objects = np.clip(rows[:, 0], 0.0, 1.0)
        likely = np.clip(classes[np.arange(len(best)), best], 0.0, 1.0)
        scores = (objects**_OBJECT_POWER * likely**_CLASS_POWER).astype(np.float32)
        kept = strongest(np.flatnonzero(scores >= self._task.score_threshold), scores)
        y, x = np.divmod(kept, width)
        cells = np.stack([x, y], axis=-1).astype(np.float32)
        steps = np.array([size[0] / width, size[1] / height], dtype=np.float32)
        whole = np.array(size, dtype=np.float32)
        centres = np.hstack(
            [(cells + np.tanh(rows[kept, 1:3])) * steps, sigmoid(rows[kept, 3:5]) * whole]
        )
        return Candidates(corners(centres.astype(np.float32)), scores[kept], best[kept])
