"""What one inference says, after post-processing; the same on the bench and on the device."""

from dataclasses import dataclass, field

from edgeops.contracts.manifest import TaskType

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 as shares (0..1) of the width and height of the image given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One object in an image."""

    label: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the model said about one sample.

    Attributes:
        label: Best class (classification, keyword); ``normal``/``anomaly`` where a threshold
            is given; empty for detection.
        score: Its probability 0..1; anomaly score (0 or more); predicted value (regression);
            best object's score, or 0 (detection).
        scores: All class scores, in the order of the task's labels.
        objects: Detected objects, best first.
    """

    task: TaskType
    label: str = ""
    score: float = 0.0
    scores: tuple[float, ...] = ()
    objects: tuple[Detection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAnswers:
    """What each variant answered to the golden samples when the bundle was made."""

    variants: dict[str, tuple[Result, ...]] = field(default_factory=dict)
