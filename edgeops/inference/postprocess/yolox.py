"""YOLOX heads: one row per cell of three grids."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.postprocess.classification import sigmoid
from edgeops.inference.postprocess.heads import Candidates, corners, strongest

_BOX_AND_OBJECT = 5


class YoloxHead:
    """``[1, cells, 5 + classes]``: cx, cy, log w, log h in cells, object score, class scores.

    Rows run over the grids of ``task.strides``, each row by row. Box = ((cx + column) * stride,
    (cy + row) * stride, exp(w) * stride, exp(h) * stride). Score = object * class. Object and
    class scores are probabilities already unless the task says ``sigmoid``.

    Raises:
        InferenceError: The output has another shape than the labels ask for.
    """

    def __init__(self, task: Task, outputs: tuple[TensorSpec, ...]) -> None:
        self._task = task
        shape, columns = outputs[0].shape, _BOX_AND_OBJECT + len(task.labels)
        if len(shape) != 3 or shape[2] != columns:  # noqa: PLR2004  # batch, cells, columns
            raise InferenceError(
                f"the output {outputs[0].name!r} has the shape {list(shape)},"
                f" a YOLOX head for {len(task.labels)} labels has [1, cells, {columns}]"
            )
        self._grid: tuple[tuple[int, int], Floats, Floats] | None = None

    def __call__(self, outputs: Sequence[Floats], size: tuple[int, int]) -> Candidates:
        """Return the boxes whose score reaches the task's threshold."""
        rows = outputs[0][0]
        cells, strides = self._cells(size, len(rows))
        objects = rows[:, 4]
        if self._task.activation == "sigmoid":
            objects = sigmoid(objects)
        # A class score is at most 1, so that most cells drop out by one comparison.
        some = np.flatnonzero(objects >= self._task.score_threshold)
        classes = rows[some, 5:]
        if self._task.activation == "sigmoid":
            classes = sigmoid(classes)
        best = classes.argmax(axis=1)
        scores = np.zeros(len(rows), dtype=np.float32)
        scores[some] = objects[some] * classes[np.arange(len(some)), best]
        kept = strongest(some[scores[some] >= self._task.score_threshold], scores)
        stride = strides[kept, None]
        centres = np.hstack(
            [(rows[kept, :2] + cells[kept]) * stride, np.exp(rows[kept, 2:4]) * stride]
        )
        return Candidates(corners(centres), scores[kept], best[np.searchsorted(some, kept)])

    def _cells(self, size: tuple[int, int], count: int) -> tuple[Floats, Floats]:
        """Return every row's cell ``[cells, 2]`` (column, row) and stride ``[cells]``."""
        if self._grid is None or self._grid[0] != size:
            cells, strides = [], []
            for stride in self._task.strides:
                width, height = size[0] // stride, size[1] // stride
                y, x = np.mgrid[0:height, 0:width]
                cells.append(np.stack([x, y], axis=-1).reshape(-1, 2))
                strides.append(np.full(width * height, stride))
            self._grid = (
                size,
                cast("Floats", np.concatenate(cells).astype(np.float32)),
                cast("Floats", np.concatenate(strides).astype(np.float32)),
            )
        _, grid, steps = self._grid
        if len(grid) != count:
            raise InferenceError(
                f"the YOLOX head has {count} cells, strides {list(self._task.strides)} on an image"
                f" of {size[0]}x{size[1]} give {len(grid)}"
            )
        return grid, steps
