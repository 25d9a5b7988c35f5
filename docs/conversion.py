"""Writes ``reference/recipe.md`` and ``reference/targets.md`` from classes and data files.

``python -m docs.conversion`` rewrites both; ``tests/system/test_conversion_pages.py`` holds them.
"""

# ruff: noqa: INP001  # a script beside the pages, not a package

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from converters.flags import Flags, overlay
from converters.recipe import Recipe
from converters.targets import Target, targets
from docs import configuration

FOLDER: Final = Path(__file__).parent / "reference"
RECIPE_PAGE: Final = FOLDER / "recipe.md"
TARGETS_PAGE: Final = FOLDER / "targets.md"

RECIPE: Final = """\
# Recipe

Written by `python -m docs.conversion` from the classes that read a recipe; do not edit.

A recipe says what `edgeops convert --recipe FILE --out FOLDER` makes of which model: read strictly,
as [configuration](configuration.md) says of all documents. Paths start from the recipe's folder.
Every option has a key, so that a recipe alone is enough to make the same bundle again:
`edgeops convert --recipe FILE --check BUNDLE` compares byte by byte.

"""

EXAMPLE: Final = """\
model: door.onnx
name: door
version: 1.2.0
serial: 3
task: {type: classification, labels: [closed, open], activation: softmax}
input:
  layout: nchw
  color: rgb
  preprocess: [{resize: {size: [96, 96]}}, {scale: 0.00392156862745098}]
calibration: {data: train, samples: 200, seed: 1, method: auto}
evaluation: {data: test, metric: top1, max_drop: 0.01, slices: [site]}
target: raspberry-pi-4
outputs:
  - {runtime: tflite, precision: int8}
  - {runtime: onnx, precision: int8}
  - {runtime: onnx, precision: float32}
card: {summary: Tells whether the door is open, licence: Apache-2.0}
"""

BETWEEN: Final = """\
A device takes the first of `outputs` that it can run. The [target](targets.md) decides what the
recipe leaves open.

## Keys

"""

FLAGS: Final = """\
## Flags

A flag lies over the recipe's key:

| flag | key |
|---|---|
"""

SAMPLES: Final[Mapping[str, object]] = {
    "model": "m.onnx",
    "shape": ["x=1,3"],
    "serial": 2,
    "calibration": Path("c.npz"),
    "samples": 5,
    "seed": 5,
    "evaluate": Path("e.npz"),
    "max_drop": 0.5,
    "target": "cpu-x86",
    "scales_from": Path("b"),
    "prune": "0.2",
    "raw": True,
}
"""A value for each flag that is no plain text; for finding the key that it lies over."""

LARGER: Final[Mapping[str, str]] = {"finetune": "finetune", "shape": "shapes.NAME"}
"""Flags whose value is a file, or part of whose key is in the value."""

HALVES: Final = frozenset({"to", "precision"})
"""Flags that make ``outputs`` together."""

TARGETS: Final = """\
# Targets

Written by `python -m docs.conversion` from `converters/target_profiles`; do not edit.

A target says what a processor or its runtime needs of a model file:
`edgeops convert --target NAME`, or `target: NAME` in a [recipe](recipe.md). A board is another name
for its profile. Without a
target the files suit ONNX Runtime on x86-64 and LiteRT anywhere.

A model that needs an operator outside a target's list is refused for it, with every such operator;
a recipe that asks for a runtime or precision that the target does not have is refused as a whole.

"""

_HIDDEN: Final = frozenset({"name", "summary", "boards", "operators", "notes"})


def recipe_page() -> str:
    """Return the page about recipes; raises ``ValueError`` for a key without a meaning."""
    lines = [RECIPE + "```yaml\n" + EXAMPLE + "```\n", BETWEEN.rstrip("\n") + "\n"]
    lines += list(configuration.tables(Recipe))
    lines.append(FLAGS.rstrip("\n"))
    lines += [f"| `{spelled(flag)}` | `{key}` |" for flag, key in flag_keys().items()]
    return "\n".join(lines).rstrip() + "\n"


def flag_keys() -> dict[str, str]:
    """Return the recipe's key that each flag lies over; ``outputs`` is one for two flags."""
    bare = set(overlay(Flags(), has_recipe=True))
    found: dict[str, str] = {}
    for field in dataclasses.fields(Flags):
        if field.name in LARGER:
            found[field.name] = LARGER[field.name]
            continue
        value = SAMPLES.get(field.name, "float32")
        flags = Flags(**{field.name: value})  # type: ignore[arg-type]  # one of each kind
        if field.name in HALVES:
            found[field.name] = "outputs"
            continue
        (key,) = set(overlay(flags, has_recipe=True)) - bare
        found[field.name] = key
    return found


def spelled(flag: str) -> str:
    """Return a field of ``Flags`` as it is written on the command line."""
    return "MODEL" if flag == "model" else f"--{flag.replace('_', '-')}"


def targets_page() -> str:
    """Return the page about targets."""
    lines = [TARGETS.rstrip("\n") + "\n"]
    for target in targets().values():
        lines += [f"## {target.name}\n", f"{target.summary}.\n", *_profile(target), ""]
    lines += ["## What a profile may say\n", *configuration.tables(Target)]
    return "\n".join(lines).rstrip() + "\n"


def _profile(target: Target) -> Iterator[str]:
    usual = Target()
    if target.boards:
        yield f"Boards: {', '.join(f'`{board}`' for board in target.boards)}.\n"
    yield "| what | value |"
    yield "|---|---|"
    for field in dataclasses.fields(Target):
        value = getattr(target, field.name)
        shown = field.name in {"runtimes", "precisions", "activations", "io"}
        if field.name not in _HIDDEN and (shown or value != getattr(usual, field.name)):
            yield f"| {field.name} | {_words(value)} |"
    yield ""
    for note in target.notes:
        yield f"- {note}"
    if target.operators:
        yield f"\nOperators: {', '.join(f'`{name}`' for name in target.operators)}."


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


if __name__ == "__main__":
    RECIPE_PAGE.write_text(recipe_page())
    TARGETS_PAGE.write_text(targets_page())
