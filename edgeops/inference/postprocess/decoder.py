"""What every task's decoder offers, and the one for a manifest's task."""

from collections.abc import Sequence
from typing import Protocol

from edgeops.contracts.manifest import Task, TensorSpec
from edgeops.contracts.result import Result
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.packing import Prepared
from edgeops.inference.postprocess.anomaly import AnomalyDecoder
from edgeops.inference.postprocess.classification import ClassDecoder
from edgeops.inference.postprocess.detection import DetectionDecoder
from edgeops.inference.postprocess.regression import RegressionDecoder
from edgeops.inference.postprocess.segmentation import SegmentationDecoder


class ResultDecoder(Protocol):
    """Makes one result of the outputs for one sample."""

    def __call__(self, prepared: Prepared, outputs: Sequence[Sequence[Floats]], /) -> Result:
        """Return what the model said.

        Args:
            prepared: The sample as it went in.
            outputs: Per window (one where the sample is not cut) the model's outputs.

        Raises:
            InferenceError: The outputs are not what the task's decoder expects.
        """
        ...


def decoder_for(
    task: Task, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> ResultDecoder:
    """Return the decoder of a task for a model with these tensors.

    Raises:
        InferenceError: The model's tensors do not fit the task.
    """
    if not outputs:
        raise InferenceError("the model has no output")
    match task.type:
        case "classification" | "keyword":
            return ClassDecoder(task, outputs)
        case "detection":
            return DetectionDecoder(task, outputs)
        case "anomaly":
            return AnomalyDecoder(task, inputs, outputs)
        case "regression":
            return RegressionDecoder(outputs)
        case "segmentation":
            return SegmentationDecoder(task, outputs)
