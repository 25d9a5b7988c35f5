"""The flags of ``edgeops convert`` as an overlay of the recipe: dotted key -> YAML text."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from converters.finetune.options import FinetuneOptions
from converters.importing.origin import FORMATS, Origin, SourceFormat, open_origin
from converters.recipe import Recipe
from converters.targets import load_target, target_of, usual_outputs
from edgeops import yamldoc
from edgeops.errors import UsageError

DEFAULT_VERSION: Final = "0.1.0"
AUTO: Final = "auto"

Put: TypeAlias = Callable[[str, object], None]
"""Notes one override, unless its value is ``None``."""

_CLASS_RANK: Final = 2
_IMAGE_RANK: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line said; ``None`` or nothing where it said nothing.

    Attributes:
        model: Path, or ``module:factory``.
        shape: Each ``NAME=1,3,224,224``.
        prune: A share of the channels, or ``auto``.
        finetune: File with the options of ``FinetuneOptions``.
    """

    model: str | None = None
    format: str | None = None
    shape: Sequence[str] = ()
    name: str | None = None
    version: str | None = None
    serial: int | None = None
    to: str | None = None
    precision: str | None = None
    calibration: Path | None = None
    samples: int | None = None
    seed: int | None = None
    calibration_method: str | None = None
    evaluate: Path | None = None
    metric: str | None = None
    max_drop: float | None = None
    slices: str | None = None
    labels: str | None = None
    layout: str | None = None
    target: str | None = None
    io: str | None = None
    keep_float: str | None = None
    scales_from: Path | None = None
    prune: str | None = None
    finetune: Path | None = None
    raw: bool = False


def overlay(flags: Flags, *, has_recipe: bool) -> dict[str, str]:
    """Return the overrides that the flags stand for; paths start from the working folder.

    Without a recipe, what ``completion`` returns belongs to them.

    Raises:
        UsageError: A flag names something unknown.
        StorageError, ContractError: The file of ``--finetune`` cannot be read.
    """
    found, put = _overrides()
    put("model", _source(flags.model))
    put("format", flags.format)
    for name, shape in _shapes(flags.shape).items():
        put(f"shapes.{name}", list(shape))
    put("name", flags.name)
    put("version", flags.version)
    put("serial", flags.serial)
    put("calibration.data", flags.calibration)
    put("calibration.samples", flags.samples)
    put("calibration.seed", flags.seed)
    put("calibration.method", flags.calibration_method)
    put("evaluation.data", flags.evaluate)
    put("evaluation.metric", flags.metric)
    put("evaluation.max_drop", flags.max_drop)
    put("evaluation.slices", _words(flags.slices))
    put("task.labels", _words(flags.labels) if has_recipe else None)
    put("input.layout", flags.layout)
    put("raw", True if flags.raw else None)
    if flags.target is not None:
        load_target(flags.target)  # an unknown name is told before anything is read
    put("target", flags.target)
    put("io", flags.io)
    put("keep_float", _words(flags.keep_float))
    put("scales_from", flags.scales_from)
    put("prune", _pruning(flags.prune))
    put("finetune", _finetuning(flags.finetune))
    for flag, words in (("--to", flags.to), ("--precision", flags.precision)):
        if _words(words) == []:
            raise UsageError(f"{flag} names nothing")
    put("outputs", _outputs(flags))
    return found


def _overrides() -> tuple[dict[str, str], Put]:
    """Return overrides, none yet, and what notes one."""
    found: dict[str, str] = {}

    def put(key: str, value: object) -> None:
        # JSON is YAML: quoting is right whatever the text holds.
        if value is not None:
            found[key] = json.dumps(str(value.resolve()) if isinstance(value, Path) else value)

    return found, put


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _source(model: str | None) -> str | None:
    """Return an absolute path, or ``module:factory`` as it stands."""
    if model is None or (":" in model and not Path(model).exists()):
        return model
    return str(Path(model).resolve())


def _shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        sizes = _words(numbers) or []
        if not name or not sizes or not all(size.isdecimal() for size in sizes):
            raise UsageError(f"--shape {text!r}: expected NAME=1,3,224,224")
        if "." in name:
            raise UsageError(f"--shape {text!r}: give shapes of names with dots in a recipe")
        found[name] = tuple(int(size) for size in sizes)
    return found


def _pruning(text: str | None) -> dict[str, float] | None:
    """Return the recipe's ``prune``; its own limits are checked with the recipe."""
    if text is None or text == AUTO:
        return None if text is None else {}
    try:
        return {"ratio": float(text)}
    except ValueError:
        raise UsageError(f"--prune {text!r}: expected a share such as 0.2, or {AUTO}") from None


def _finetuning(path: Path | None) -> dict[str, object] | None:
    return None if path is None else dataclasses.asdict(yamldoc.load(path, FinetuneOptions))


def _outputs(flags: Flags) -> list[dict[str, str]] | None:
    """Return every runtime in every precision where both are asked for; see ``other_half``."""
    runtimes, precisions = _words(flags.to), _words(flags.precision)
    if runtimes is None or precisions is None:
        return None
    return _each(runtimes, precisions)


def other_half(flags: Flags, recipe: Recipe) -> dict[str, str]:
    """Return the override of the outputs where only runtimes or only precisions are asked for.

    The other half is the recipe's, or what target and data suggest, as far as the target has it.

    Raises:
        UsageError: There is no such target.
    """
    runtimes, precisions = _words(flags.to), _words(flags.precision)
    if (runtimes is None) == (precisions is None):
        return {}
    target = target_of(recipe)
    stated = recipe.outputs or usual_outputs(recipe, target)
    if runtimes is None:
        found = [output.runtime for output in stated if output.runtime in target.runtimes]
        runtimes = list(dict.fromkeys(found or target.runtimes))
    if precisions is None:
        known = [output.precision for output in stated if output.precision in target.precisions]
        precisions = list(dict.fromkeys(known or target.precisions[:1]))
    return {"outputs": json.dumps(_each(runtimes, precisions))}


def _each(runtimes: Sequence[str], precisions: Sequence[str]) -> list[dict[str, str]]:
    """Return all pairs; the smallest files come first."""
    return [
        {"runtime": runtime, "precision": precision}
        for precision in precisions
        for runtime in runtimes
    ]


def original(flags: Flags) -> Origin:
    """Return the model that the flags name, opened once for all that follows.

    Raises:
        UsageError: They name none, or its format cannot be told.
        EdgeOpsError: It cannot be read.
    """
    if flags.model is None:
        raise UsageError("give a MODEL or a --recipe")
    return open_origin(
        flags.model, Path(), source_format=_format(flags.format), shapes=_shapes(flags.shape)
    )


def completion(flags: Flags, origin: Origin) -> dict[str, str]:
    """Return what a recipe would have said: name, version, task and layout.

    Raises:
        ConversionError: The model cannot be imported, or has no input.
    """
    found, put = _overrides()
    if flags.name is None:
        stem = Path((flags.model or "").rpartition(":")[2]).stem
        slug = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
        put("name", slug[:63] or "model")
    if flags.version is None:
        put("version", DEFAULT_VERSION)
    inputs, outputs, layout = _edges(origin, _shapes(flags.shape))
    if flags.layout is None and len(inputs) == _IMAGE_RANK:
        put("input.layout", layout)
    classes = outputs[-1] if len(outputs) == _CLASS_RANK and outputs[0] == 1 else 0
    if flags.labels is not None or classes > 1:
        labels = _words(flags.labels) or [f"class-{number}" for number in range(classes)]
        put("task", {"type": "classification", "labels": labels})
    else:
        put("task", {"type": "regression"})
    return found


def _edges(
    origin: Origin, shapes: Mapping[str, Sequence[int]]
) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """Return the shapes of first input and output, and the layout that the format is known for."""
    from converters.importing.importer import import_model  # noqa: PLC0415 - onnx is heavy
    from converters.representative import require_one_input  # noqa: PLC0415

    graph = import_model(origin.onnx, shapes=shapes)
    require_one_input(graph)
    layout = "nchw" if origin.kind in {"onnx", "pytorch"} else "nhwc"
    return graph.shape(graph.inputs[0]), graph.shape(graph.outputs[0]), layout


def _format(stated: str | None) -> SourceFormat | None:
    for known in FORMATS:
        if known == stated:
            return known
    if stated is None:
        return None
    raise UsageError(f"no format {stated!r}; there are {', '.join(FORMATS)}")
