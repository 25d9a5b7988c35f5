"""Judge files on what they were not calibrated on, all through the device's own inference."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.datasets import open_dataset
from converters.detections import matches
from converters.evaluation import Answers, answer
from converters.metrics import measure
from edgeops.bundle import open_folder
from edgeops.contracts.manifest import InputSpec, Manifest, Variant
from edgeops.contracts.scalars import Runtime
from edgeops.inference.model import Model
from tests.benchmarks.scoreboard.cases import Case, Kind


@dataclass(frozen=True, slots=True)
class Figure:
    """How good a file is: accuracy, AUC or recall; precision for boxes."""

    value: float
    precision: float | None = None

    def text(self, kind: Kind) -> str:
        """Return the figure for a table."""
        if self.precision is not None:
            return f"{self.value:.3f}/{self.precision:.3f}"
        return f"{self.value:.4f}" if kind == "auc" else f"{100 * self.value:.2f} %"


def variant_answers(bundle: Path, variant: Variant, evaluation: Path) -> Answers:
    """Return what one variant of a bundle answers."""
    opened = open_folder(bundle)
    return _answers(Model.load(opened, variant), opened.manifest, evaluation)


def file_answers(path: Path, runtime: Runtime, manifest: Manifest, evaluation: Path) -> Answers:
    """Return what a file that others made of the same model answers."""
    spec = manifest.inputs[0]
    if runtime == "tflite" and spec.layout != "none":
        # Foreign TFLite files take images as NHWC, whatever the ONNX file took.
        spec = InputSpec(
            name=spec.name, layout="nhwc", color=spec.color, preprocess=spec.preprocess
        )
    model = Model.open(path, runtime, task=manifest.task, spec=spec)
    return _answers(model, manifest, evaluation)


def _answers(model: Model, manifest: Manifest, evaluation: Path) -> Answers:
    spec = manifest.inputs[0]
    windowed = any(step.window is not None for step in spec.preprocess)
    dataset = open_dataset(evaluation, manifest.task, color=spec.color, windowed=windowed)
    try:
        return answer(model, dataset)
    finally:
        model.close()


def pooled(parts: Sequence[Answers]) -> Answers:
    """Return the answers of all folds as one."""
    return Answers(
        results=tuple(result for part in parts for result in part.results),
        truths=tuple(truth for part in parts for truth in part.truths),
        slices=tuple(row for part in parts for row in part.slices),
    )


def figure(case: Case, parts: Sequence[Answers], original: Sequence[Answers]) -> Figure:
    """Return how good answers are; boxes are held against those of the float original.

    The area under the curve is the mean over the folds: scores of two calibrations do not
    share one scale.
    """
    if case.kind == "auc":
        values = [measure("auc", part.results, part.truths, ()) for part in parts]
        return Figure(sum(values) / len(values))
    found, wanted = pooled(parts), pooled(original)
    if case.kind == "boxes":
        hits = said = true = 0
        for have, want in zip(found.results, wanted.results, strict=True):
            hits += sum(matches(have.objects, want.objects))
            said += len(have.objects)
            true += len(want.objects)
        return Figure(hits / max(1, true), hits / max(1, said))
    return Figure(measure("top1", found.results, found.truths, ()))
