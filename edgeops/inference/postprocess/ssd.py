"""TFLite's ``TFLite_Detection_PostProcess``: boxes that were suppressed inside the model."""

from collections.abc import Sequence

import numpy as np

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.errors import BadOutputError, InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.postprocess.heads import MAX_CANDIDATES, Candidates

_OUTPUTS = 4
_CORNERS = 4


class SsdHead:
    """Four outputs: boxes ``[1, n, 4]`` (ymin, xmin, ymax, xmax in 0..1), classes, scores, count.

    Older converters put the boxes first (boxes, classes, scores, count), newer ones the scores
    (scores, boxes, count, classes): the place of the boxes tells which.

    Raises:
        InferenceError: The outputs are neither.
    """

    def __init__(self, task: Task, outputs: tuple[TensorSpec, ...]) -> None:
        self._task = task
        boxes = [i for i, spec in enumerate(outputs) if spec.shape[-1:] == (_CORNERS,)]
        if len(outputs) != _OUTPUTS or not boxes or boxes[0] > 1:
            raise InferenceError(
                "an SSD head has the outputs boxes, classes, scores, count; the model has"
                f" {[list(spec.shape) for spec in outputs]}"
            )
        self._order = (0, 1, 2, 3) if boxes[0] == 0 else (1, 3, 0, 2)

    def __call__(self, outputs: Sequence[Floats], size: tuple[int, int]) -> Candidates:
        """Return the boxes whose score reaches the task's threshold."""
        boxes, classes, scores, count = (outputs[index] for index in self._order)
        valid = max(0, min(int(count.reshape(-1)[0]), scores.size, MAX_CANDIDATES))
        scores = scores.reshape(-1)[:valid]
        kept = np.flatnonzero(scores >= self._task.score_threshold)
        found = np.rint(classes.reshape(-1)[kept]).astype(np.intp)
        if found.size and not 0 <= found.min() <= found.max() < len(self._task.labels):
            raise BadOutputError(
                f"the model answers class {found.max()}, the manifest names"
                f" {len(self._task.labels)} labels"
            )
        rows = boxes.reshape(-1, _CORNERS)[kept]
        factor = np.array([*size, *size], dtype=np.float32)
        return Candidates(rows[:, [1, 0, 3, 2]] * factor, scores[kept], found)
