"""One case, converted, judged and timed: a row of the scoreboard with its peers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converters.evaluation import Answers
from edgeops.bundle import open_folder
from edgeops.contracts.manifest import Variant
from edgeops.contracts.scalars import Runtime
from edgeops.errors import EdgeOpsError
from tests.benchmarks.scoreboard.cases import Case
from tests.benchmarks.scoreboard.converting import convert, plain_int8_size
from tests.benchmarks.scoreboard.data import Fold, folds
from tests.benchmarks.scoreboard.judging import Figure, figure, file_answers, variant_answers
from tests.benchmarks.scoreboard.peers import PEERS, PeerFile, quantize
from tests.benchmarks.scoreboard.timing import side_by_side

_INTEGER = ("int8", "int16x8", "dynamic-int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One judged file."""

    label: str
    path: Path
    runtime: Runtime
    size_bytes: int
    figure: Figure
    kept_float: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Everything measured for one case.

    Attributes:
        ours: Our files: the float ones first.
        others: The reference file and what peers made.
        refused: What peers could not make, and why.
        size_limit: Largest int8 TFLite file accepted; 0 where the case limits none.
    """

    case: Case
    verdict: str
    seconds: float
    peak_rss_bytes: int
    ours: tuple[File, ...] = ()
    others: tuple[File, ...] = ()
    refused: tuple[str, ...] = ()
    size_limit: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)

    @property
    def original(self) -> Figure:
        """Return the float original's figure."""
        return next(file.figure for file in self.ours if file.label == "onnx float32")


def measure_case(case: Case, data: Path, work: Path, *, peers: bool) -> Row:
    """Convert, judge and time one case in ``work``."""
    work.mkdir()
    made = folds(data, case.evaluation, case.calibration, work)
    runs = [convert(case, data, fold, work / f"run{i}") for i, fold in enumerate(made)]
    verdict = ", ".join(sorted({str(run.outcome.get("verdict", run.words[-200:])) for run in runs}))
    row = Row(
        case=case,
        verdict=verdict,
        seconds=max(run.seconds for run in runs),
        peak_rss_bytes=max(run.peak_rss_bytes for run in runs),
    )
    bundles = [run.folder for run in runs if run.folder is not None]
    if len(bundles) < len(runs):
        return row
    original = _variants(bundles, made, "onnx-float32")
    ours = _ours(case, bundles, made, original)
    others, refused = _others(case, data, bundles, made, original, work=work, peers=peers)
    files = {file.label: (file.path, file.runtime) for file in (*ours, *others)}
    return Row(
        case=case,
        verdict=verdict,
        seconds=row.seconds,
        peak_rss_bytes=row.peak_rss_bytes,
        ours=tuple(ours),
        others=tuple(others),
        refused=tuple(refused),
        size_limit=_size_limit(case, data, work / "run0"),
        latency_ms=side_by_side(files),
    )


def _size_limit(case: Case, data: Path, run: Path) -> float:
    """Return the largest file accepted: a multiple of the reference's, or of a pure int8 one's."""
    if not case.size_goal:
        return 0.0
    if case.reference:
        return case.size_goal * (data / case.reference).stat().st_size
    return case.size_goal * plain_int8_size(run)


def _variants(bundles: Sequence[Path], made: Sequence[Fold], name: str) -> list[Answers]:
    return [
        variant_answers(bundle, variant, fold.evaluation)
        for bundle, fold in zip(bundles, made, strict=True)
        for variant in open_folder(bundle).manifest.variants
        if variant.id == name
    ]


def _ours(
    case: Case, bundles: Sequence[Path], made: Sequence[Fold], original: Sequence[Answers]
) -> list[File]:
    found: list[File] = []
    first = open_folder(bundles[0])
    for variant in sorted(first.manifest.variants, key=_order):
        parts = _variants(bundles, made, variant.id)
        if len(parts) < len(bundles):
            continue  # the other half needed another fallback
        path = first.path(variant.file)
        found.append(
            File(
                label=f"{variant.runtime} {variant.precision}",
                path=path,
                runtime=variant.runtime,
                size_bytes=path.stat().st_size,
                figure=figure(case, parts, original),
                kept_float=len(variant.float_islands),
            )
        )
    return found


def _order(variant: Variant) -> tuple[bool, str]:
    return variant.precision in _INTEGER, variant.id


def _others(
    case: Case,
    data: Path,
    bundles: Sequence[Path],
    made: Sequence[Fold],
    original: Sequence[Answers],
    *,
    work: Path,
    peers: bool,
) -> tuple[list[File], list[str]]:
    manifest = open_folder(bundles[0]).manifest
    found: list[File] = []
    refused: list[str] = []

    def judged(label: str, paths: Sequence[Path], runtime: Runtime) -> None:
        parts = [
            file_answers(path, runtime, manifest, fold.evaluation)
            for path, fold in zip(paths, made, strict=True)
        ]
        size = paths[0].stat().st_size
        value = figure(case, parts, original)
        found.append(
            File(label=label, path=paths[0], runtime=runtime, size_bytes=size, figure=value)
        )

    if case.reference:
        judged("reference int8", [data / case.reference] * len(made), "tflite")
    for peer in PEERS if peers else ():
        if not peer.interpreter:
            refused.append(f"{peer.name}: {peer.variable} names no interpreter")
            continue
        results: list[PeerFile] = [
            quantize(peer, bundle, fold.calibration, work / f"{peer.name}{i}")
            for i, (bundle, fold) in enumerate(zip(bundles, made, strict=True))
        ]
        paths = [result.path for result in results if result.path is not None]
        if len(paths) < len(made):
            refused.append(f"{peer.name}: {next(r.reason for r in results if r.path is None)}")
            continue
        try:
            judged(f"{peer.name} ({results[0].seconds:.1f} s)", paths, peer.gives)
        except EdgeOpsError as error:
            refused.append(f"{peer.name}: its file does not run: {error}"[:160])
    return found, refused
