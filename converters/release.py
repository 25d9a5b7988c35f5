"""Turn judged model files into a signed bundle."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from converters import exam
from converters.appraisal import Appraisal
from converters.datasets import Dataset
from converters.outcome import JudgedVariant, attempt_records
from converters.quant.ladder import Attempt
from converters.recipe import Recipe
from converters.session import Session
from edgeops import __version__, codec
from edgeops.bundle import (
    MANIFEST,
    MEASUREMENTS,
    SUFFIX,
    Bundle,
    open_folder,
    opened,
    pack,
    write_manifest,
)
from edgeops.contracts.manifest import (
    Card,
    Manifest,
    Parents,
    Requires,
    Variant,
)
from edgeops.durable import remove_tree, rename, sync_tree, write_atomic
from edgeops.errors import StorageError
from edgeops.trust import SigningKey

REPORT_SUFFIXES: Final = (".report.html", ".report.json")
"""What stands beside a bundle, after its title."""

_TOOLS: Final = ("onnx", "onnxruntime", "numpy", "ai-edge-litert", "flatbuffers")

MAX_CLASSES: Final = 100
"""Most classes that a card lists."""

MAX_TEXT: Final = 8000
"""Longest text of a card."""


def make_manifest(
    session: Session,
    folder: Path,
    variants: Sequence[JudgedVariant],
    attempts: tuple[Attempt, ...],
    *,
    development: bool,
    appraisal: Appraisal | None = None,
) -> Manifest:
    """Return the manifest for the files in ``folder``, writing golden samples beside them.

    Nothing in it depends on the time, the machine's speed or the folder: the same input and
    tools give the same bytes.

    Args:
        session: The conversion's inputs.
        folder: The bundle in the making.
        variants: Those to ship, the preferred one first: exam, drift reference and card are
            about it.
        attempts: Rungs of the ladder that were tried.
        development: Whether it is signed with a developer's own key.
        appraisal: Intervals, classes and harm for the card.
    """
    recipe = session.recipe
    answered = {v.made.output: v.answers for v in variants if v.answers is not None}
    golden = drift = None
    if session.evaluation is not None and answered:
        first = next(iter(answered.values()))
        choice = exam.choose_golden(session.evaluation, first.results)
        by_id = {f"{o.runtime}-{o.precision}": given for o, given in answered.items()}
        golden = exam.write_golden(folder, choice, by_id)
        drift = exam.drift_reference(recipe.task, session.evaluation, first.results)
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        serial=recipe.serial,
        task=recipe.task,
        inputs=(session.spec,),
        variants=tuple(_variant(variant) for variant in variants),
        parents=Parents(
            source_sha256=session.origin.sha256, previous_bundle=_previous_bundle(session)
        ),
        recipe=recipe_record(session, attempts),
        golden=golden,
        drift_reference=drift,
        card=make_card(session.recipe.card, variants[0], appraisal or Appraisal()),
        development=development,
    )


def _previous_bundle(session: Session) -> str | None:
    """Return the digest of the bundle whose scales were kept, if any were asked for."""
    if session.recipe.scales_from is None:
        return None
    source = session.folder / session.recipe.scales_from
    with TemporaryDirectory() as folder, opened(source, Path(folder)) as known:
        return known.digest


def _variant(judged: JudgedVariant) -> Variant:
    made = judged.made
    return Variant(
        runtime=made.output.runtime,
        precision=made.output.precision,
        file=made.file,
        sha256=judged.sha256,
        size_bytes=judged.size_bytes,
        inputs=made.inputs,
        outputs=made.outputs,
        requires=Requires(opset=made.opset),
        metrics=judged.metrics,
        drop=judged.drop,
        quantized_macs=made.quantized_macs,
        float_islands=made.float_islands,
    )


def make_card(stated: Card, judged: JudgedVariant, appraisal: Appraisal) -> Card:
    """Return the recipe's card with figures of the preferred variant and its known harm.

    Figures that have one carry their 95 % interval as ``NAME_low`` and ``NAME_high``; a class's
    recall with the float original stands beside it as ``original_recall``. Of very many classes
    the weakest are listed: every device holds the manifest, the report has them all.
    """
    found = appraisal.variants.get(judged.made.output)
    original = appraisal.original
    if found is None or original is None:
        return replace(stated, metrics=judged.metrics)
    before = {group.value: group for group in original.classes}
    classes = {}
    for group in found.assessment.classes:
        row = group.numbers()
        for name in ("recall", "agreement"):
            if group.value in before and name in group.figures:
                row[f"original_{name}"] = before[group.value].figures[name].value
        classes[group.value] = dict(sorted(row.items()))
    if len(classes) > MAX_CLASSES:
        weakest = sorted(classes, key=lambda label: (classes[label].get("recall", 0.0), label))
        classes = {label: classes[label] for label in sorted(weakest[:MAX_CLASSES])}
    known = [harm.sentence(judged.id) + "." for harm in found.comparison.harms]
    return replace(
        stated,
        limits="\n".join([stated.limits, *known]).strip()[:MAX_TEXT],
        metrics=found.assessment.numbers(),
        per_class=classes,
    )


def recipe_record(session: Session, attempts: tuple[Attempt, ...]) -> dict[str, object]:
    """Return how the bundle was made."""
    options = codec.plain(session.recipe)
    if not isinstance(options, dict):
        raise TypeError("a recipe is a mapping")
    # What the manifest or the records below state; paths would tell machines apart.
    stated_elsewhere = ("task", "card", "name", "version", "serial", "model", "input")
    for stated in (*stated_elsewhere, "scales_from"):
        options.pop(stated, None)
    for data in (options.get("calibration"), options.get("evaluation")):
        if isinstance(data, dict):
            data.pop("data", None)
    return {
        "options": options,
        "model": session.origin.title,
        "tools": {"edgeops": __version__, **{tool: _version(tool) for tool in _TOOLS}},
        "import": {
            "samples": session.gate.samples,
            "relative_difference": float(f"{session.gate.relative:.3g}"),
        },
        "calibration": _data_record(session.calibration_data),
        "evaluation": {**_data_record(session.evaluation), "metric": session.metric},
        "attempts": attempt_records(attempts),
        "warnings": list(session.warnings),
    }


def _data_record(dataset: Dataset | None) -> dict[str, object]:
    if dataset is None:
        return {}
    return {"name": dataset.name, "sha256": dataset.sha256, "samples": dataset.size}


def _version(tool: str) -> str:
    try:
        return metadata.version(tool)
    except metadata.PackageNotFoundError:
        return ""


def seal(
    folder: Path, manifest: Manifest, measurements: dict[str, object], key: SigningKey
) -> Bundle:
    """Sign ``folder`` and write the same bundle as one file beside it; nothing is published yet.

    Raises:
        StorageError: The disk is full or read-only.
    """
    write_atomic(folder / MEASUREMENTS, codec.canonical(measurements))
    bundle = write_manifest(folder, manifest, key)
    sync_tree(folder)
    pack(bundle, folder.parent / f"{file_title(manifest)}{SUFFIX}")
    return bundle


def require_place(out: Path, title: str) -> None:
    """Refuse to put a bundle where something else stands that would be lost.

    Raises:
        StorageError: ``out``/``title`` is no bundle, or a folder stands in a file's place.
    """
    target = out / title
    empty = target.is_dir() and not any(target.iterdir())
    if target.exists() and not empty and not (target / MANIFEST).is_file():
        raise StorageError(f"{target} exists and is no bundle: move it, or choose another --out")
    for suffix in (SUFFIX, *REPORT_SUFFIXES):
        file = out / f"{title}{suffix}"
        if file.is_dir():
            raise StorageError(f"{file} is a folder: move it, or choose another --out")


def publish(folder: Path, title: str, files: Iterable[Path], out: Path) -> Bundle:
    """Move the sealed ``folder`` to ``out``/``title`` and ``files`` beside it.

    Everything has been written before: what is left needs no room on the disk.

    Raises:
        StorageError: ``out`` cannot be changed; an earlier bundle stays whole.
    """
    target = out / title
    retired = out / f".{title}.old"
    if retired.exists() and not target.exists():
        rename(retired, target)  # a cut came between the two renames below
    remove_tree(retired)
    if target.exists():
        rename(target, retired)
    rename(folder, target)
    remove_tree(retired)
    for file in files:
        rename(file, out / file.name)
    return open_folder(target)


def file_title(named: Manifest | Recipe) -> str:
    """Return what bundle, packed file and report are called: name and version."""
    return f"{named.name}-{named.version}"
