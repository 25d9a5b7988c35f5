"""Objects in an image: a head's boxes, suppressed, as shares of the image that was given."""

from collections.abc import Sequence

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.contracts.result import Detection, Result
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.packing import Prepared
from edgeops.inference.postprocess.fastestdet import FastestdetHead
from edgeops.inference.postprocess.heads import Head
from edgeops.inference.postprocess.nms import suppress
from edgeops.inference.postprocess.ssd import SsdHead
from edgeops.inference.postprocess.ultraface import UltrafaceHead
from edgeops.inference.postprocess.yolo import YoloHead
from edgeops.inference.postprocess.yolox import YoloxHead


class DetectionDecoder:
    """The decoder of the task's head; see the heads for their outputs.

    Raises:
        InferenceError: The model's outputs do not fit the head.
    """

    def __init__(self, task: Task, outputs: tuple[TensorSpec, ...]) -> None:
        self._task = task
        self._head = _head(task, outputs)

    def __call__(self, prepared: Prepared, outputs: Sequence[Sequence[Floats]]) -> Result:
        """Return the objects, best first; see ``ResultDecoder``."""
        geometry, task = prepared.geometry, self._task
        if geometry is None:
            raise InferenceError("detection needs an image")
        found = self._head(outputs[0], geometry.size)
        kept = suppress(
            found.boxes, found.scores, found.classes, iou=task.nms_iou, most=task.max_objects
        )
        shares = geometry.to_shares(found.boxes[kept])
        objects = tuple(
            Detection(
                label=task.labels[int(found.classes[row])],
                score=float(found.scores[row]),
                box=geometry.box(box),
            )
            for row, box in zip(kept, shares, strict=True)
        )
        best = objects[0].score if objects else 0.0
        return Result(task="detection", score=best, objects=objects)


def _head(task: Task, outputs: tuple[TensorSpec, ...]) -> Head:
    match task.decoder:
        case "yolox":
            return YoloxHead(task, outputs)
        case "yolo":
            return YoloHead(task, outputs)
        case "ssd":
            return SsdHead(task, outputs)
        case "ultraface":
            return UltrafaceHead(task, outputs)
        case "fastestdet":
            return FastestdetHead(task, outputs)
        case None:
            raise InferenceError("the task detection names no decoder")
