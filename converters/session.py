"""One conversion's inputs, read once: model, data, pre-processing, and how answers are judged."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from converters.arrays import Feeds
from converters.datasets import Dataset, Sample, open_dataset
from converters.evaluation import Answers, answer, figures, input_spec, is_windowed
from converters.graph import Graph
from converters.importing.gate import GateResult, compare, require_equal
from converters.importing.importer import import_model
from converters.importing.origin import Origin, open_origin
from converters.metrics import Metric, default_metric, loss
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.outcome import JudgedVariant
from converters.progress import Progress, Unseen
from converters.recipe import (
    DEFAULT_MAX_DROP,
    CalibrationData,
    EvaluationData,
    LoadedRecipe,
    Output,
    Recipe,
)
from converters.representative import (
    Representative,
    input_tensor,
    invented_feeds,
    require_one_input,
    shared_samples,
)
from converters.targets import Target, outputs_of, target_of
from converters.variant_gate import require_faithful
from converters.variants import VariantFile
from edgeops.contracts.manifest import InputSpec
from edgeops.errors import UsageError
from edgeops.inference.model import Model
from edgeops.inference.runtimes.loading import open_model
from edgeops.trust import file_sha256

GATE_SAMPLES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What every step of a conversion needs.

    Attributes:
        graph: The normalised float graph, equal to the original file by gate 1.
        folder: Where the recipe's paths start.
        origin: The model as its user has it.
        target: What the files are for.
        outputs: Files to make, the preferred one first.
        spec: What samples go through.
        calibration: Chosen samples, if the recipe names any.
        evaluation: Data that variants are judged on, if there is any.
        metric: The deciding one.
        feeds: A few samples as input tensors; invented where there are no data.
        progress: Takes how far a step is.
        warnings: Sentences for people.
    """

    recipe: Recipe
    folder: Path
    origin: Origin
    target: Target
    outputs: tuple[Output, ...]
    graph: Graph
    gate: GateResult
    spec: InputSpec
    calibration: Representative | None
    calibration_data: Dataset | None
    evaluation: Dataset | None
    metric: Metric
    feeds: tuple[Feeds, ...]
    warnings: tuple[str, ...]
    progress: Progress = field(default_factory=Unseen)

    @property
    def max_drop(self) -> float:
        """Return the accuracy budget."""
        stated = self.recipe.evaluation
        return DEFAULT_MAX_DROP if stated is None else stated.max_drop

    def judge(self, folder: Path, made: VariantFile, baseline: Answers | None) -> JudgedVariant:
        """Return the figures of one variant on the evaluation data.

        Raises:
            InferenceError: The variant does not run, or its outputs are not what the task says.
            ConversionError: It is float32 and does not compute what the original does.
        """
        path = folder / made.file
        require_faithful(
            self.graph,
            path,
            made,
            self.feeds,
            layout=self.spec.layout,
            judged=self.evaluation is not None,
        )
        answers: Answers | None = None
        metrics: dict[str, float] = {}
        drop: float | None = None
        model = Model(  # without data, too: a task that does not fit the outputs is told here
            open_model(path, made.output.runtime),
            task=self.recipe.task,
            spec=self.spec,
            inputs=made.inputs,
            outputs=made.outputs,
        )
        try:
            if self.evaluation is not None:
                answers = answer(model, self._watched(self.evaluation, made))
        finally:
            model.close()
        if answers is not None:
            reference = answers if baseline is None else baseline
            metrics = figures(self.recipe.task, self.metric, answers, reference.results)
            before = figures(self.recipe.task, self.metric, reference, reference.results)
            drop = round(loss(self.metric, before[self.metric], metrics[self.metric]), 6)
        return JudgedVariant(
            made=made,
            size_bytes=path.stat().st_size,
            sha256=file_sha256(path),
            answers=answers,
            metrics=metrics,
            drop=drop,
        )

    def _watched(self, dataset: Dataset, made: VariantFile) -> Dataset:
        """Return ``dataset`` such that reading a sample tells the progress."""
        self.progress.stage(f"judging {made.output.runtime} {made.output.precision}", dataset.size)

        def read(index: int) -> Sample:
            self.progress.advance()
            return dataset.read(index)

        return replace(dataset, read=read)


def open_session(
    loaded: LoadedRecipe, say: Callable[[str], None], progress: Progress | None = None
) -> Session:
    """Read model and data, import the model and hold it against the original (gate 1).

    Args:
        loaded: The recipe.
        say: Takes words for people.
        progress: Takes how far a step is.

    Raises:
        ConversionError, UnsupportedModelError: The model cannot be imported faithfully.
        StorageError, ContractError, UsageError: Data cannot be read, or do not fit.
    """
    recipe = loaded.recipe
    progress = progress or Unseen()
    target = target_of(recipe)
    outputs = outputs_of(recipe, target)
    progress.stage("importing the model")
    origin = loaded.origin or open_origin(
        recipe.model, loaded.folder, source_format=recipe.format, shapes=recipe.shapes
    )
    graph = import_model(origin.onnx, shapes=recipe.shapes)
    say(f"imported {origin.title}: {len(graph.nodes)} operators")
    require_one_input(graph)
    contract = InputSpec(
        name=graph.inputs[0],
        shape=graph.shape(graph.inputs[0]),
        layout=recipe.input.layout,
        color=recipe.input.color,
        preprocess=recipe.input.preprocess,
    )
    tensor = input_tensor(graph, contract)
    spec = input_spec(contract, tensor, raw=recipe.raw)
    warnings = list(origin.notes)
    calibration_data = _data(loaded, recipe.calibration, contract)
    evaluation = _data(loaded, recipe.evaluation, contract)
    _require_columns(recipe.evaluation, evaluation)
    calibration: Representative | None = None
    if calibration_data is not None and recipe.calibration is not None:
        chosen = calibration_data.pick(recipe.calibration.samples, recipe.calibration.seed)
        calibration = Representative(calibration_data, chosen, spec, tensor, progress)
        if evaluation is not None:
            digests = (sample.sha256() for sample in evaluation.all())
            shared = shared_samples(calibration.digests(), digests)
            if shared:
                warnings.append(
                    f"{shared} of {evaluation.size} evaluation samples were calibrated on: "
                    "the figures flatter int8"
                )
    if evaluation is None and calibration_data is not None:
        evaluation = calibration_data
        warnings.append("judged on the calibration data, for want of evaluation data")
    feeds = _gate_feeds(graph, spec, calibration, evaluation)
    if evaluation is None:
        warnings.append("no data given: variants were compared on invented inputs only")
    gate = compare(origin.reference, OrtModel(serialize(graph)), feeds)
    require_equal(gate, origin.tolerance)
    return Session(
        recipe=recipe,
        folder=loaded.folder,
        origin=origin,
        target=target,
        outputs=outputs,
        graph=graph,
        gate=gate,
        spec=spec,
        calibration=calibration,
        calibration_data=calibration_data,
        evaluation=evaluation,
        metric=_metric(recipe, evaluation),
        feeds=tuple(feeds),
        warnings=tuple(warnings),
        progress=progress,
    )


def _data(
    loaded: LoadedRecipe, stated: CalibrationData | EvaluationData | None, spec: InputSpec
) -> Dataset | None:
    if stated is None:
        return None
    return open_dataset(
        loaded.path(stated.data), loaded.recipe.task, color=spec.color, windowed=is_windowed(spec)
    )


def _require_columns(stated: EvaluationData | None, dataset: Dataset | None) -> None:
    """Refuse slices by columns that the data do not have, before anything long begins."""
    if stated is None or dataset is None or not stated.slices:
        return
    known = sorted(dataset.read(0).slices)
    for column in stated.slices:
        if column not in known:
            words = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{dataset.name} has no column {column!r} to split by; {words}")


def _gate_feeds(
    graph: Graph, spec: InputSpec, calibration: Representative | None, evaluation: Dataset | None
) -> list[Feeds]:
    if calibration is not None:
        return calibration.first(GATE_SAMPLES)
    if evaluation is not None:
        chosen = evaluation.pick(GATE_SAMPLES, 0)
        return Representative(evaluation, chosen, spec, input_tensor(graph, spec)).first(
            GATE_SAMPLES
        )
    return invented_feeds(graph, GATE_SAMPLES, 0)


def _metric(recipe: Recipe, evaluation: Dataset | None) -> Metric:
    stated = recipe.evaluation.metric if recipe.evaluation else None
    if stated is not None:
        if evaluation is not None and not evaluation.labelled and stated != "agreement":
            raise UsageError(f"the metric {stated} needs labels, {evaluation.name} has none")
        return stated
    return default_metric(recipe.task, labelled=evaluation is not None and evaluation.labelled)
