"""UltraFace: scores and boxes as two outputs, the boxes decoded inside the model."""

from collections.abc import Sequence

import numpy as np

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.postprocess.heads import Candidates, strongest

_CORNERS = 4


class UltrafaceHead:
    """``scores [1, n, 1 + labels]`` with background first, ``boxes [1, n, 4]`` in 0..1.

    Boxes are x1, y1, x2, y2 as shares of the tensor. The two outputs may come in either order:
    their last axes tell them apart.

    Raises:
        InferenceError: The outputs are not these.
    """

    def __init__(self, task: Task, outputs: tuple[TensorSpec, ...]) -> None:
        self._task = task
        columns = len(task.labels) + 1
        boxes = [i for i, spec in enumerate(outputs) if spec.shape[-1:] == (_CORNERS,)]
        scores = [i for i, spec in enumerate(outputs) if spec.shape[-1:] == (columns,)]
        if len(outputs) != 2 or len(boxes) != 1 or len(scores) != 1:  # noqa: PLR2004 - scores, boxes
            raise InferenceError(
                f"an UltraFace head for {len(task.labels)} labels has the outputs"
                f" [1, n, {columns}] and [1, n, 4]; the model has"
                f" {[list(spec.shape) for spec in outputs]}"
            )
        self._boxes, self._scores = boxes[0], scores[0]

    def __call__(self, outputs: Sequence[Floats], size: tuple[int, int]) -> Candidates:
        """Return the boxes whose score reaches the task's threshold."""
        probabilities = outputs[self._scores][0, :, 1:]
        best = probabilities.argmax(axis=1)
        scores = probabilities[np.arange(len(best)), best]
        kept = strongest(np.flatnonzero(scores >= self._task.score_threshold), scores)
        factor = np.array([*size, *size], dtype=np.float32)
        return Candidates(outputs[self._boxes][0, kept] * factor, scores[kept], best[kept])
