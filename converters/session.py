"""One conversion's inputs, read once: model, data, pre-processing, and how answers are judged."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Array, Feeds
from converters.datasets import Dataset, open_dataset
from converters.evaluation import Answers, answer, figures, input_spec, is_windowed
from converters.graph import Graph
from converters.importing.gate import GateResult, compare, require_equal
from converters.importing.importer import import_model
from converters.metrics import Metric, default_metric
from converters.onnx_format import read_model, serialize
from converters.ort import OrtModel
from converters.outcome import JudgedVariant
from converters.quant.sensitivity import relative_noise
from converters.recipe import (
    DEFAULT_MAX_DROP,
    CalibrationData,
    EvaluationData,
    LoadedRecipe,
    Recipe,
)
from converters.representative import (
    Representative,
    input_tensor,
    invented_feeds,
    shared_samples,
)
from converters.variants import VariantFile
from edgeops.contracts.manifest import InputSpec
from edgeops.contracts.scalars import Layout
from edgeops.errors import ConversionError, UsageError
from edgeops.inference.model import Model
from edgeops.inference.runtimes.loading import open_model
from edgeops.trust import file_sha256

GATE_SAMPLES: Final = 8

MAX_NOISE: Final = 0.05
"""Error energy accepted of a compressed file where no data can judge it: 13 dB."""
GATE_TOLERANCE: Final = 1e-3
"""Relative; folding reorders float32 sums, which moves the last of seven digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What every step of a conversion needs.

    Attributes:
        graph: The normalised float graph, equal to the original file by gate 1.
        spec: What samples go through.
        calibration: Chosen samples, if the recipe names any.
        evaluation: Data that variants are judged on, if there is any.
        metric: The deciding one.
        feeds: A few samples as input tensors; invented where there are no data.
        warnings: Sentences for people.
    """

    recipe: Recipe
    graph: Graph
    gate: GateResult
    spec: InputSpec
    calibration: Representative | None
    calibration_data: Dataset | None
    evaluation: Dataset | None
    metric: Metric
    feeds: tuple[Feeds, ...]
    source_sha256: str
    warnings: tuple[str, ...]

    @property
    def max_drop(self) -> float:
        """Return the accuracy budget."""
        stated = self.recipe.evaluation
        return DEFAULT_MAX_DROP if stated is None else stated.max_drop

    def judge(self, folder: Path, made: VariantFile, baseline: Answers | None) -> JudgedVariant:
        """Return the figures of one variant on the evaluation data.

        Raises:
            InferenceError: The variant does not run.
            ConversionError: It is float32 and does not compute what the original does.
        """
        path = folder / made.file
        self._compare(path, made)
        answers: Answers | None = None
        metrics: dict[str, float] = {}
        drop: float | None = None
        if self.evaluation is not None:
            model = Model(
                open_model(path, made.output.runtime),
                task=self.recipe.task,
                spec=self.spec,
                inputs=made.inputs,
                outputs=made.outputs,
            )
            try:
                answers = answer(model, self.evaluation)
            finally:
                model.close()
            reference = answers if baseline is None else baseline
            metrics = figures(self.recipe.task, self.metric, answers, reference.results)
            before = figures(self.recipe.task, self.metric, reference, reference.results)
            drop = round(before[self.metric] - metrics[self.metric], 6)
        return JudgedVariant(
            made=made,
            size_bytes=path.stat().st_size,
            sha256=file_sha256(path),
            answers=answers,
            metrics=metrics,
            drop=drop,
        )

    def _compare(self, path: Path, made: VariantFile) -> None:
        """Hold a variant's outputs against the float graph's, data or no data.

        Any float32 difference is a fault of ours. In other precisions the task's metric
        decides where there are data; without, only nonsense is refused.
        """
        reference = OrtModel(serialize(self.graph))
        expected = [reference.run(feeds) for feeds in self.feeds]
        layout = self.spec.layout
        model = open_model(path, made.output.runtime)
        try:
            found = [
                dict(zip(self.graph.outputs, model.run(_tensors(feeds, made, layout)), strict=True))
                for feeds in self.feeds
            ]
        finally:
            model.close()
        noise = relative_noise(expected, found)
        limit = GATE_TOLERANCE**2 if made.output.precision == "float32" else MAX_NOISE
        if self.evaluation is not None and made.output.precision != "float32":
            return
        if not noise <= limit:  # also refuses NaN
            raise ConversionError(
                f"{made.file} does not compute what the original does: its outputs are off by "
                f"{noise:.3g} of their energy, at most {limit:.3g} is accepted"
            )


def _tensors(feeds: Feeds, made: VariantFile, layout: Layout) -> list[Array]:
    """Return a feed, given in the graph's layout, in the one that the variant takes."""
    tensors = []
    for spec in made.inputs:
        tensor = feeds[spec.name]
        if layout == "nchw" and spec.layout == "nhwc":
            tensor = tensor.transpose(0, 2, 3, 1)
        tensors.append(np.ascontiguousarray(tensor))
    return tensors


def open_session(loaded: LoadedRecipe, say: Callable[[str], None]) -> Session:
    """Read model and data, import the model and hold it against the original (gate 1).

    Raises:
        ConversionError, UnsupportedModelError: The model cannot be imported faithfully.
        StorageError, ContractError, UsageError: Data cannot be read, or do not fit.
    """
    recipe = loaded.recipe
    source = read_model(loaded.model)
    graph = import_model(source, shapes=recipe.shapes)
    say(f"imported {loaded.model.name}: {len(graph.nodes)} operators")
    contract = InputSpec(
        name=graph.inputs[0],
        shape=graph.shape(graph.inputs[0]),
        layout=recipe.input.layout,
        color=recipe.input.color,
        preprocess=recipe.input.preprocess,
    )
    tensor = input_tensor(graph, contract)
    spec = input_spec(contract, tensor, raw=recipe.raw)
    warnings: list[str] = []
    calibration_data = _data(loaded, recipe.calibration, contract)
    evaluation = _data(loaded, recipe.evaluation, contract)
    calibration: Representative | None = None
    if calibration_data is not None and recipe.calibration is not None:
        chosen = calibration_data.pick(recipe.calibration.samples, recipe.calibration.seed)
        calibration = Representative(calibration_data, chosen, spec, tensor)
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
    gate = compare(OrtModel(source), OrtModel(serialize(graph)), feeds)
    require_equal(gate, GATE_TOLERANCE)
    return Session(
        recipe=recipe,
        graph=graph,
        gate=gate,
        spec=spec,
        calibration=calibration,
        calibration_data=calibration_data,
        evaluation=evaluation,
        metric=_metric(recipe, evaluation),
        feeds=tuple(feeds),
        source_sha256=file_sha256(loaded.model),
        warnings=tuple(warnings),
    )


def _data(
    loaded: LoadedRecipe, stated: CalibrationData | EvaluationData | None, spec: InputSpec
) -> Dataset | None:
    if stated is None:
        return None
    return open_dataset(
        loaded.path(stated.data), loaded.recipe.task, color=spec.color, windowed=is_windowed(spec)
    )


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
