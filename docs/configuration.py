"""Writes ``reference/configuration.md`` from the dataclasses that read each document.

``python docs/configuration.py`` rewrites the page; ``tests/system/test_howto.py`` holds it to the
classes and refuses a key that no docstring explains.
"""

# ruff: noqa: INP001  # a script beside the pages, not a package

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from agent.config import Document
from agent.config_sections import KEYWORDS
from agent.rules.config import RuleOptions
from agent.sinks.options import KINDS as ACTIONS
from agent.sources.options import KINDS as SOURCES
from converters.recipe import Recipe
from edgeops.contracts.scalars import PATTERNS
from edgeops.quantities import ByteSize, Duration
from fleet.config import FleetConfig
from fleet.rollouts.spec import RolloutSpec

PAGE: Final = Path(__file__).parent / "reference" / "configuration.md"
ROOT: Final = Path(__file__).parents[1]

INTRODUCTION: Final = """\
# Configuration

Written by `python docs/configuration.py` from the classes that read these documents; do not edit.

All four documents are YAML, read strictly: unknown keys, keys that stand twice, tags and aliases
are refused, `yes` and `on` are words and no booleans, and every fault is told with its line.
Relative paths start from the document's own folder. A *duration* is written `250ms`, `30s`, `5m`,
`2h`, `7d` or as seconds; a *size* `64KiB`, `256MB` or as bytes. *required* means that there is no
default, `-` that nothing is set.

Variables lie over the files of the two daemons: `EDGEOPS_AGENT__OUTBOX__MAX_DISK=64MB` sets
`outbox.max_disk` of `agent.yaml`, `EDGEOPS_FLEET__API__LISTEN=127.0.0.1:0` sets `api.listen` of
`fleet.yaml`. Flags lie over recipe and policy. Secrets stand in files of their own and never in
these documents.
"""

RULES: Final = """\
Expressions compare functions with numbers and join comparisons by `and`, `or`, `not` and brackets:

| function | of a model for | value |
|---|---|---|
| `score(LABEL)` | classification, keyword, detection | score of the label or its best box, 0 to 1 |
| `label(LABEL)` | classification, keyword, anomaly | 1 where the answer is this label, else 0 |
| `count(LABEL)`, `count(LABEL, SCORE)` | detection | boxes of the label, with at least this score |
| `anomaly()` | anomaly | the anomaly score |
| `value()` | regression | the value |
"""

UNLIMITED: Final = 1 << 24
"""A limit from here on is there for safety and tells nobody anything."""

SIMPLE: Final[Mapping[object, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Duration: "duration",
    ByteSize: "size",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One table of the page: the keys of ``kind`` below ``path``."""

    path: str
    kind: type
    before: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Rows that no field stands for, such as ``type``: key to meaning."""
    after: str = ""


def page() -> str:
    """Return the whole page; raises ``ValueError`` for a key that no docstring explains."""
    sources = [
        Part(f"sources.NAME ({kind})", options, {"type": f"`{kind}`"})
        for kind, options in SOURCES.items()
    ]
    actions = [
        Part(f"actions.NAME ({kind})", options, {"type": f"`{kind}`"})
        for kind, options in ACTIONS.items()
    ]
    rules = Part("rules.NAME", RuleOptions, after=RULES)
    sections = [
        ("agent.yaml", "The agent on a device.", [*_parts(Document), *sources, rules, *actions]),
        ("fleet.yaml", "The server; without a file all defaults hold.", _parts(FleetConfig)),
        ("Recipe", "What `edgeops convert` makes of which model: see [recipe](recipe.md).", []),
        ("Rollout policy", "`edgeops fleet rollout start --policy FILE`.", _parts(RolloutSpec)),
    ]
    lines = [INTRODUCTION]
    for title, what, parts in sections:
        lines += [f"## {title}\n", f"{what}\n"]
        for part in parts:
            lines += [*([f"### {part.path}\n"] if part.path else []), *_table(part), ""]
            lines += [part.after] if part.after else []
    return "\n".join(lines).rstrip() + "\n"


def tables(kind: type) -> Iterator[str]:
    """Yield the lines of the tables for ``kind`` and every dataclass below it."""
    for part in _parts(kind):
        yield from [f"### {part.path}\n"] if part.path else []
        yield from _table(part)
        yield ""


def _parts(kind: type) -> list[Part]:
    """Return ``kind`` and every dataclass below it, each once, under all paths that lead there."""
    paths: dict[type, list[str]] = {}
    for path, found in _walk(kind, ""):
        paths.setdefault(found, []).append(path)
    parts = []
    for found, places in paths.items():
        shallow = min(place.count(".") for place in places)
        parts.append(Part(", ".join(p for p in places if p.count(".") == shallow), found))
    return parts


def _walk(kind: type, path: str) -> Iterator[tuple[str, type]]:
    yield path, kind
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        below, step = _dataclass_in(hint)
        if below is not None:
            yield from _walk(below, f"{_join(path, name)}{step}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _dataclass_in(hint: object) -> tuple[type | None, str]:
    """Return the dataclass that ``hint`` holds, and how its keys are reached."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint, ""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    step = "[]" if origin in {tuple, list} else ".NAME" if origin is dict else ""
    for member in members:
        below, further = _dataclass_in(member)
        if below is not None:
            return below, step + further
    return None, ""


def _table(part: Part) -> Iterator[str]:
    meanings = _meanings(part.kind)
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, meaning in part.before.items():
        yield f"| `{key}` | word | *required* | {meaning} |"
    hints = typing.get_type_hints(part.kind, include_extras=True)
    for field in dataclasses.fields(part.kind):
        key = next((word for word, name in KEYWORDS.items() if name == field.name), field.name)
        if field.name not in meanings:
            place = inspect.getsourcefile(part.kind) or ""
            raise ValueError(f"{place}: {part.kind.__name__}.{field.name} has no meaning")
        cells = (f"`{key}`", _type(hints[field.name]), _default(field), meanings[field.name])
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _meanings(kind: type) -> dict[str, str]:
    """Return what the docstring's ``Attributes`` say of each field, in one line each."""
    _, _, text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\w)", "\n" + text.partition("\n\n")[0])[1:]:
        names, _, meaning = " ".join(entry.split()).partition(": ")
        for name in names.split(", "):
            found[name] = re.sub(r"``(.+?)``", r"`\1`", meaning.replace("``None``", "unset"))
    return found


def _default(field: "dataclasses.Field[object]") -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "*required*"
    text = _written(value)
    return "-" if text in {"", "{}", "[]"} else f"`{text}`"


def _written(value: object) -> str:
    """Return a default as a document would have it."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    if isinstance(value, Duration):
        units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
        return next(
            (f"{value / n:g}{u}" for u, n in units.items() if value and not value % n), "0s"
        )
    if isinstance(value, ByteSize):
        units = {"GiB": 1 << 30, "MiB": 1 << 20, "MB": 1000**2, "KiB": 1024, "B": 1}
        return next(f"{value // n}{u}" for u, n in units.items() if not value % n)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    if isinstance(value, dict) or dataclasses.is_dataclass(value):
        return "{" + ", ".join(_changed(value)) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _changed(value: object) -> Iterator[str]:
    """Yield what of a section's default its own keys do not say already."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            given = getattr(value, field.name)
            if field.default_factory is dataclasses.MISSING and given != field.default:
                yield f"{field.name}: {_written(given)}"


def _type(hint: object) -> str:
    """Return a type in the words of somebody who writes YAML."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _limited(_type(members[0]), members[1:])
    if origin in {typing.Union, types.UnionType}:
        return ", ".join(_type(member) for member in members if member is not type(None))
    if origin is dict:
        inner = _type(members[1])
        return "sections by name" if inner.startswith("section") else f"{inner} by name"
    if origin in {tuple, list}:
        pair = Ellipsis not in members and origin is tuple
        return f"[{', '.join(map(_type, members))}]" if pair else f"list of {_type(members[0])}"
    return _word_of(hint)


def _word_of(hint: object) -> str:
    words: list[object] = []
    if typing.get_origin(hint) is typing.Literal:
        words = list(typing.get_args(hint))
    elif isinstance(hint, type) and issubclass(hint, StrEnum):
        words = list(hint)
    return ", ".join(f"`{word}`" for word in words) or SIMPLE.get(hint, "section")


def _limited(words: str, limits: tuple[object, ...]) -> str:
    for limit in limits:
        if isinstance(limit, msgspec.Meta):
            if limit.pattern in PATTERNS:
                return PATTERNS[limit.pattern]
            low, high = limit.ge, limit.le
            if high is not None and high >= UNLIMITED:
                high = None
            words += "" if limit.gt is None else f" above {limit.gt}"
            words += "" if low is None else f" from {low}"
            words += "" if high is None else f" to {high}"
    return words


def missing() -> Iterator[str]:
    """Yield every key that no docstring explains."""
    kinds = {
        part.kind for kind in (Document, FleetConfig, Recipe, RolloutSpec) for part in _parts(kind)
    }
    for kind in sorted({*kinds, *SOURCES.values(), *ACTIONS.values(), RuleOptions}, key=repr):
        known = _meanings(kind)
        for field in dataclasses.fields(kind):
            if field.name not in known:
                yield f"{kind.__module__}.{kind.__name__}.{field.name}"


if __name__ == "__main__":
    PAGE.write_text(page())
