"""Turn judged model files into a signed bundle."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from converters import exam
from converters.datasets import Dataset
from converters.evaluation import class_figures
from converters.outcome import JudgedVariant, attempt_records
from converters.quant.ladder import Attempt
from converters.session import Session
from edgeops import __version__, codec
from edgeops.bundle import MEASUREMENTS, SUFFIX, Bundle, open_folder, pack, write_manifest
from edgeops.contracts.manifest import (
    Card,
    Manifest,
    Parents,
    Requires,
    Variant,
)
from edgeops.durable import remove_tree, rename, sync_tree, write_atomic
from edgeops.trust import SigningKey

_TOOLS: Final = ("onnx", "onnxruntime", "numpy", "ai-edge-litert", "flatbuffers")


def make_manifest(
    session: Session,
    folder: Path,
    variants: Sequence[JudgedVariant],
    attempts: tuple[Attempt, ...],
    *,
    development: bool,
) -> Manifest:
    """Return the manifest for the files in ``folder``, writing golden samples beside them.

    Nothing in it depends on the time, the machine's speed or the folder: the same input and
    tools give the same bytes.
    """
    recipe = session.recipe
    answered = {v.made.output: v.answers for v in variants if v.answers is not None}
    golden = drift = None
    if session.evaluation is not None and answered:
        choice = exam.choose_golden(session.evaluation)
        by_id = {f"{o.runtime}-{o.precision}": given for o, given in answered.items()}
        golden = exam.write_golden(folder, choice, by_id)
        first = next(iter(answered.values()))
        drift = exam.drift_reference(recipe.task, session.evaluation, first.results)
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        serial=recipe.serial,
        task=recipe.task,
        inputs=(session.spec,),
        variants=tuple(_variant(variant) for variant in variants),
        parents=Parents(source_sha256=session.origin.sha256),
        recipe=recipe_record(session, attempts),
        golden=golden,
        drift_reference=drift,
        card=_card(session, variants[0]),
        development=development,
    )


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


def _card(session: Session, judged: JudgedVariant) -> Card:
    stated = session.recipe.card
    classes = class_figures(session.recipe.task, judged.answers) if judged.answers else {}
    return Card(
        summary=stated.summary,
        intended_use=stated.intended_use,
        data=stated.data,
        limits=stated.limits,
        licence=stated.licence,
        metrics=judged.metrics,
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


def publish(
    folder: Path,
    manifest: Manifest,
    measurements: dict[str, object],
    key: SigningKey,
    out: Path,
) -> Bundle:
    """Sign ``folder`` and move it to ``out``/NAME-VERSION, with NAME-VERSION.edgeops beside it.

    Raises:
        StorageError: The disk is full or read-only; an earlier bundle stays whole.
    """
    write_atomic(folder / MEASUREMENTS, codec.canonical(measurements))
    write_manifest(folder, manifest, key)
    sync_tree(folder)
    title = f"{manifest.name}-{manifest.version}"
    target = out / title
    retired = out / f".{title}.old"
    if retired.exists() and not target.exists():
        rename(retired, target)  # a cut came between the two renames below
    remove_tree(retired)
    if target.exists():
        rename(target, retired)
    rename(folder, target)
    remove_tree(retired)
    bundle = open_folder(target)
    pack(bundle, out / f"{title}{SUFFIX}")
    return bundle
