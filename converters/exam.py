"""What travels with the model to be checked on the device: golden samples, drift reference."""

import io
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.datasets import Dataset
from converters.evaluation import Answers
from edgeops import codec
from edgeops.bundle import file_ref
from edgeops.contracts.manifest import DriftReference, Golden, Task
from edgeops.contracts.result import Detection, GoldenAnswers, Result
from edgeops.durable import write_atomic

GOLDEN_SAMPLES: Final = "golden/samples.npz"
GOLDEN_EXPECTED: Final = "golden/expected.json"

MAX_GOLDEN: Final = 16
MAX_GOLDEN_BYTES: Final = 1 << 20
SCORE_BINS: Final = 20

SAFE_MARGIN: Final = 0.1
"""Twice the score tolerance of the exam: both scores may move by it, and the order stays."""

_TRIES: Final = 4
"""Samples read for each that is kept, where shapes differ."""

_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class GoldenChoice:
    """Samples chosen for the exam: their numbers in the data set, and themselves."""

    indices: tuple[int, ...]
    samples: Array


def choose_golden(dataset: Dataset, results: Sequence[Result]) -> GoldenChoice:
    """Return up to 16 samples of one shape, from every class that the model answers.

    Of each class the closest decision comes first, because a damaged model changes it first;
    then samples spread evenly over the class. Decisions so close that a harmless difference
    of processors could turn them are left out.

    Args:
        dataset: The evaluation data.
        results: The shipped variant's answers to them.
    """
    order = _by_merit(results)
    first = dataset.read(order[0]).data
    room = min(MAX_GOLDEN, max(1, MAX_GOLDEN_BYTES // max(1, first.nbytes)))
    picked = {order[0]: first}
    for index in order[1 : MAX_GOLDEN * _TRIES]:
        if len(picked) == room:
            break
        data = dataset.read(index).data
        if data.shape == first.shape and data.dtype == first.dtype:
            picked[index] = data
    indices = tuple(sorted(picked))
    return GoldenChoice(indices, np.stack([picked[index] for index in indices]))


def _by_merit(results: Sequence[Result]) -> list[int]:
    """Return sample numbers, class after class in turn, each class by merit."""
    classes: dict[str, list[int]] = {}
    for index, result in enumerate(results):
        name = result.objects[0].label if result.objects else result.label
        classes.setdefault(name, []).append(index)
    ranked = [_ranked(classes[name], results) for name in sorted(classes)]
    longest = max(len(members) for members in ranked)
    return [
        members[place] for place in range(longest) for members in ranked if place < len(members)
    ]


def _ranked(members: Sequence[int], results: Sequence[Result]) -> list[int]:
    """Return the closest safe decision, then samples spread evenly, then nothing twice."""
    margins = {index: _margin(results[index]) for index in members}
    safe = [index for index in members if margins[index] >= SAFE_MARGIN]
    usable = safe or list(members)
    count = min(MAX_GOLDEN, len(usable))
    spread = [usable[round(i * (len(usable) - 1) / max(1, count - 1))] for i in range(count)]
    hardest = min(usable, key=lambda index: (margins[index], index))
    return list(dict.fromkeys([hardest, *spread]))


def _margin(result: Result) -> float:
    """Return how far the best class is ahead of the second; 1 where there are no two."""
    if result.task not in {"classification", "keyword"} or len(result.scores) <= 1:
        return 1.0
    best, second = sorted(result.scores)[-1:-3:-1]
    return best - second


def write_golden(folder: Path, choice: GoldenChoice, answers: Mapping[str, Answers]) -> Golden:
    """Write the golden samples and what each variant answered; raises ``StorageError``."""
    (folder / GOLDEN_SAMPLES).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / GOLDEN_SAMPLES, npz_bytes({"x": choice.samples}))
    expected = GoldenAnswers(
        variants={
            variant: tuple(_rounded(given.results[index]) for index in choice.indices)
            for variant, given in sorted(answers.items())
        }
    )
    write_atomic(folder / GOLDEN_EXPECTED, codec.canonical(expected))
    return Golden(
        samples=file_ref(folder, GOLDEN_SAMPLES),
        expected=file_ref(folder, GOLDEN_EXPECTED),
        count=len(choice.indices),
    )


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return an ``.npz`` whose bytes depend on the arrays alone: stored, without times."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, value in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(value), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH), member.getvalue())
    return out.getvalue()


def _rounded(result: Result) -> Result:
    """Return the answer with six digits: more would only tell processors apart."""
    return replace(
        result,
        score=round(result.score, 6),
        scores=tuple(round(score, 6) for score in result.scores),
        objects=tuple(
            Detection(
                label=item.label,
                score=round(item.score, 6),
                box=(
                    round(item.box[0], 6),
                    round(item.box[1], 6),
                    round(item.box[2], 6),
                    round(item.box[3], 6),
                ),
            )
            for item in result.objects
        ),
    )


def drift_reference(task: Task, dataset: Dataset, results: Sequence[Result]) -> DriftReference:
    """Return what inputs, scores and labels looked like on the evaluation data."""
    scores = [result.score for result in results]
    top = 1.0
    if task.type in {"anomaly", "regression"}:
        top = max(2.0 * max((abs(score) for score in scores), default=1.0), 1e-6)
    bottom = -top if task.type == "regression" else 0.0
    edges = np.linspace(bottom, top, SCORE_BINS + 1)
    counts, _ = np.histogram(np.clip(scores, bottom, top), edges)
    labels = Counter(
        name
        for result in results
        for name in ([item.label for item in result.objects] or [result.label])
        if name
    )
    mean, deviation = _input_moments(dataset)
    return DriftReference(
        samples=len(results),
        score_edges=tuple(round(float(edge), 9) for edge in edges),
        score_counts=tuple(int(count) for count in counts),
        label_counts=dict(sorted(labels.items())),
        input_mean=mean,
        input_std=deviation,
    )


def _input_moments(dataset: Dataset) -> tuple[float, float]:
    """Return mean and standard deviation of all raw numbers, read once."""
    count, total, squares = 0, 0.0, 0.0
    for sample in dataset.all():
        values = sample.data.astype(np.float64)
        count += values.size
        total += float(values.sum())
        squares += float(np.square(values).sum())
    mean = total / count
    return round(mean, 6), round(max(squares / count - mean**2, 0.0) ** 0.5, 6)
