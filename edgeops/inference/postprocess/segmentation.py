"""Pixel classes, summed up: masks stay on the device, shares of the area leave it."""

from collections.abc import Sequence

import numpy as np

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.contracts.result import Result
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.packing import Prepared

_MAP_AXES = 4


class SegmentationDecoder:
    """Share of the image per class; ``label`` is the class with the largest one.

    The first output is ``[1, H, W, classes]`` or ``[1, classes, H, W]`` scores. Where the variant
    does not say which, the class axis is the one as long as the task's labels.

    Raises:
        InferenceError: No axis fits the labels.
    """

    def __init__(self, task: Task, outputs: tuple[TensorSpec, ...]) -> None:
        shape = outputs[0].shape
        classes = len(task.labels)
        layout = outputs[0].layout
        last = len(shape) == _MAP_AXES and shape[3] == classes and layout != "nchw"
        first = len(shape) == _MAP_AXES and shape[1] == classes and layout != "nhwc"
        if not (last or first) or classes == 0:
            raise InferenceError(
                f"the output {outputs[0].name!r} has the shape {list(shape)},"
                f" which holds no axis for {classes} labels"
            )
        self._task = task
        self._axis = -1 if last else 0

    def __call__(self, _prepared: Prepared, outputs: Sequence[Sequence[Floats]]) -> Result:
        """Return the classes' shares of the area; see ``ResultDecoder``."""
        labels = self._task.labels
        answers = outputs[0][0][0].argmax(axis=self._axis)
        counts = np.bincount(answers.reshape(-1), minlength=len(labels))
        shares = tuple(float(count) / answers.size for count in counts)
        best = int(counts.argmax())
        return Result(task="segmentation", label=labels[best], score=shares[best], scores=shares)
