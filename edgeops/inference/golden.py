"""The exam before activation: samples whose answers were written down when the bundle was made.

Answers are compared by tolerance, never bit by bit: kernels of another CPU round differently.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np

from edgeops import codec
from edgeops.bundle import Bundle, file_ref
from edgeops.clock import Clock, SystemClock
from edgeops.contracts.manifest import Golden, Variant
from edgeops.contracts.result import Box, Detection, GoldenAnswers, Result
from edgeops.durable import write_atomic
from edgeops.errors import ContractError, InferenceError, StorageError
from edgeops.inference.arrays import Array
from edgeops.inference.model import Model

SAMPLES: Final = "golden/samples.npz"
EXPECTED: Final = "golden/expected.json"

MAX_SAMPLE_BYTES: Final = 256 << 20
"""Largest unpacked samples that are read."""

MAX_ANSWER_BYTES: Final = 16 << 20
"""Largest answers that are read (all variants, all class scores)."""

_SAME_BOX_IOU: Final = 0.5
_PERCENTILE: Final = 95.0


@dataclass(frozen=True, slots=True)
class GoldenOutcome:
    """How an exam went.

    Attributes:
        agreement: Share of samples whose answer agrees, 0..1.
        required: Share that the bundle asks for.
        p95_ms: 95th percentile of one whole ``predict``, after a warm-up.
        count: How many samples there were.
    """

    agreement: float
    required: float
    p95_ms: float
    count: int

    @property
    def passed(self) -> bool:
        """Return whether enough samples agree."""
        return self.agreement >= self.required


def make(model: Model, samples: Iterable[Array]) -> tuple[Result, ...]:
    """Return the model's answers, in the samples' order; raises ``InferenceError``."""
    return tuple(model.predict(sample) for sample in samples)


def write(
    folder: Path,
    models: Mapping[str, Model],
    samples: Array,
    *,
    score_tolerance: float = 0.05,
    min_agreement: float = 1.0,
) -> Golden:
    """Write samples and every variant's answers into a bundle folder; same input, same bytes.

    Args:
        folder: Of the bundle.
        models: Loaded variants by their id, such as ``onnx-int8``.
        samples: ``[n, …]`` raw samples.
        score_tolerance: See ``Golden``.
        min_agreement: See ``Golden``.

    Returns:
        The manifest's entry.

    Raises:
        StorageError: The disk is full or read-only.
        InferenceError: A model failed.
    """
    answers = GoldenAnswers(variants={name: make(model, samples) for name, model in models.items()})
    packed = io.BytesIO()
    np.savez(packed, x=samples)  # not compressed: zlib's bytes differ from build to build
    (folder / SAMPLES).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / SAMPLES, packed.getvalue())
    write_atomic(folder / EXPECTED, codec.canonical(answers))
    return Golden(
        samples=file_ref(folder, SAMPLES),
        expected=file_ref(folder, EXPECTED),
        count=len(samples),
        score_tolerance=score_tolerance,
        min_agreement=min_agreement,
    )


def check(
    bundle: Bundle, variant: Variant, *, threads: int = 1, clock: Clock | None = None
) -> GoldenOutcome:
    """Load a variant and let it answer the bundle's golden samples.

    Args:
        bundle: Whose files the caller has verified.
        variant: One of its variants.
        threads: Threads that one inference may use.
        clock: For the latency; by default the machine's.

    Raises:
        InferenceError: The bundle has no golden samples (for this variant), or the model cannot
            be loaded or run.
        StorageError, ContractError: Samples or answers cannot be read.
    """
    golden = bundle.manifest.golden
    if golden is None:
        raise InferenceError(f"{bundle.title} has no golden samples to be examined with")
    clock = SystemClock() if clock is None else clock
    samples = read_samples(bundle.path(golden.samples.file))
    answers = codec.read(
        bundle.path(golden.expected.file), GoldenAnswers, where="golden", limit=MAX_ANSWER_BYTES
    )
    expected = answers.variants.get(variant.id, ())
    if not len(expected) == len(samples) == golden.count:
        raise InferenceError(
            f"{bundle.title} has {len(samples)} golden samples of {golden.count}"
            f" and {len(expected)} answers for {variant.id}"
        )
    model = Model.load(bundle, variant, threads=threads)
    try:
        model.predict(samples[0])  # the first run allocates; it is not what a frame costs
        got, times = [], []
        for sample in samples:
            start = clock.monotonic()
            got.append(model.predict(sample))
            times.append((clock.monotonic() - start) * 1000.0)
    finally:
        model.close()
    return GoldenOutcome(
        agreement=compare(
            expected,
            got,
            golden.score_tolerance,
            score_threshold=bundle.manifest.task.score_threshold,
        ),
        required=golden.min_agreement,
        p95_ms=float(np.percentile(times, _PERCENTILE)),
        count=golden.count,
    )


def compare(
    expected: Sequence[Result],
    got: Sequence[Result],
    tolerance: float,
    *,
    score_threshold: float = 0.0,
) -> float:
    """Return the share of samples whose results agree, 0..1.

    Args:
        expected: At least one.
        got: As many.
        tolerance: Largest difference of a score; relative for anomaly scores.
        score_threshold: Detection: score from which objects are reported.
    """
    agreeing = sum(
        agrees(a, b, tolerance, score_threshold=score_threshold)
        for a, b in zip(expected, got, strict=True)
    )
    return agreeing / len(expected)


def agrees(
    expected: Result, got: Result, tolerance: float, *, score_threshold: float = 0.0
) -> bool:
    """Return whether two results say the same.

    All class scores must be close: a best class that changed between scores that are as good as
    equal is no difference. Objects must have a partner of their class, place and score; one whose
    score is within ``tolerance`` of ``score_threshold`` may be missing.
    """
    if expected.task != got.task or len(expected.scores) != len(got.scores):
        return False
    if expected.task == "anomaly":
        return abs(expected.score - got.score) <= tolerance * max(abs(expected.score), 1e-9)
    if expected.task == "detection":
        sure = score_threshold + tolerance
        return _covered(expected.objects, got.objects, tolerance, sure) and _covered(
            got.objects, expected.objects, tolerance, sure
        )
    pairs = zip((expected.score, *expected.scores), (got.score, *got.scores), strict=True)
    return all(abs(a - b) <= tolerance for a, b in pairs)


def read_samples(path: Path) -> Array:
    """Return the array ``x`` of an ``.npz`` file.

    Raises:
        StorageError: The file cannot be read.
        ContractError: It is damaged, too large, or holds no ``x``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_SAMPLE_BYTES:
            raise ContractError(path.name, f"unpacks to more than {MAX_SAMPLE_BYTES} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            return cast("Array", arrays["x"])
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise ContractError(path.name, f"is not an .npz file with the array x: {error}") from error


def overlap(first: Box, second: Box) -> float:
    """Return intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (areas - width * height)


def _covered(
    objects: Sequence[Detection], others: Sequence[Detection], tolerance: float, sure: float
) -> bool:
    """Return whether every object with a score of at least ``sure`` has a partner."""
    return all(
        item.score < sure
        or any(
            item.label == other.label
            and abs(item.score - other.score) <= tolerance
            and overlap(item.box, other.box) >= _SAME_BOX_IOU
            for other in others
        )
        for item in objects
    )
