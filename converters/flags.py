"""The flags of ``edgeops convert`` as an overlay of the recipe: dotted key -> YAML text."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from converters.targets import TARGETS
from edgeops.errors import UsageError

DEFAULT_VERSION: Final = "0.1.0"

Put: TypeAlias = Callable[[str, object], None]
"""Notes one override, unless its value is ``None``."""

_CLASS_RANK: Final = 2
_IMAGE_RANK: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line said; ``None`` where it said nothing."""

    model: Path | None = None
    name: str | None = None
    version: str | None = None
    serial: int | None = None
    to: str | None = None
    precision: str | None = None
    calibration: Path | None = None
    evaluate: Path | None = None
    metric: str | None = None
    max_drop: float | None = None
    labels: str | None = None
    layout: str | None = None
    target: str | None = None
    raw: bool = False


def overlay(flags: Flags, *, has_recipe: bool) -> dict[str, str]:
    """Return the overrides that the flags stand for; paths start from the working folder.

    Raises:
        UsageError: A flag names something unknown.
    """
    found: dict[str, str] = {}

    def put(key: str, value: object) -> None:
        # JSON is YAML: quoting is right whatever the text holds.
        if value is not None:
            found[key] = json.dumps(str(value.resolve()) if isinstance(value, Path) else value)

    put("model", flags.model)
    put("name", flags.name)
    put("version", flags.version)
    put("serial", flags.serial)
    put("calibration.data", flags.calibration)
    put("evaluation.data", flags.evaluate)
    put("evaluation.metric", flags.metric)
    put("evaluation.max_drop", flags.max_drop)
    put("task.labels", _words(flags.labels))
    put("input.layout", flags.layout)
    if flags.raw:
        put("raw", True)
    if flags.target is not None:
        if flags.target not in TARGETS:
            raise UsageError(f"no target {flags.target!r}; there are {', '.join(TARGETS)}")
        put("activations", TARGETS[flags.target].activations)
    put("outputs", _outputs(flags, has_recipe=has_recipe))
    if not has_recipe:
        _complete(flags, found, put)
    return found


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _outputs(flags: Flags, *, has_recipe: bool) -> list[dict[str, str]] | None:
    """Return every runtime in every precision asked for; the smallest files come first."""
    if has_recipe and flags.to is None and flags.precision is None:
        return None
    runtimes = _words(flags.to) or ["onnx"]
    usual = ["int8", "float32"] if flags.calibration is not None else ["float32"]
    precisions = _words(flags.precision) or usual
    return [
        {"runtime": runtime, "precision": precision}
        for precision in precisions
        for runtime in runtimes
    ]


def _complete(flags: Flags, found: dict[str, str], put: Put) -> None:
    """Fill in what a recipe would have said: name, version, task and layout."""
    if flags.model is None:
        raise UsageError("give a MODEL or a --recipe")
    if flags.name is None:
        slug = re.sub(r"[^a-z0-9]+", "-", flags.model.stem.lower()).strip("-")
        put("name", slug[:63] or "model")
    if flags.version is None:
        put("version", DEFAULT_VERSION)
    inputs, outputs = _edge_shapes(flags.model)
    if flags.layout is None and len(inputs) == _IMAGE_RANK:
        put("input.layout", "nchw")
    classes = outputs[-1] if len(outputs) == _CLASS_RANK else 0
    if flags.labels is not None or classes > 1:
        labels = _words(flags.labels) or [f"class-{number}" for number in range(classes)]
        found.pop("task.labels", None)
        put("task", {"type": "classification", "labels": labels})
    else:
        put("task", {"type": "regression"})


def _edge_shapes(model: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of the first input and the first output."""
    from converters.importing.importer import import_model  # noqa: PLC0415 - onnx is heavy
    from converters.onnx_format import read_model  # noqa: PLC0415

    graph = import_model(read_model(model))
    return graph.shape(graph.inputs[0]), graph.shape(graph.outputs[0])
