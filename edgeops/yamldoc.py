"""The one way YAML enters: strict, bounded, and every fault at once with its line.

YAML 1.2 booleans (``on`` and ``yes`` are words), no base-60 numbers, no dates, no aliases, no
tags, no duplicate keys, no unknown keys. ``load`` compares the keys with the dataclass on the
node tree first, so that each fault carries its line and the nearest known key, then converts.
"""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar, cast

import msgspec
import yaml

from edgeops.codec import read_hook, split_message
from edgeops.errors import ContractError, StorageError

T = TypeVar("T")

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32


class _Loader(yaml.SafeLoader):
    """SafeLoader with the YAML 1.2 core schema's scalars."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), [*list(_first), ""]
    )


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """Return an integer as YAML 1.2 means it: PyYAML would read 010 as 8 and refuse 09."""
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a document.

    Attributes:
        laid_over: The value is not the document's: a flag or an environment variable gave it.
    """

    line: int
    path: str
    reason: str
    laid_over: bool = False

    def __str__(self) -> str:
        place = "a flag or variable" if self.laid_over else f"line {self.line}"
        return f"{place}: {self.path or 'document'}: {self.reason}"


class FaultyDocumentError(ContractError):
    """A document with one or more faults, all listed."""

    def __init__(self, name: str, faults: list[Fault]) -> None:
        super().__init__(name, "; ".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def load(path: Path, wanted: type[T], *, overrides: Mapping[str, str] | None = None) -> T:
    """Read a YAML file as the dataclass ``wanted``.

    Args:
        path: The file; at most 1 MiB.
        wanted: A dataclass; keys it does not have are refused.
        overrides: Dotted path to YAML text, laid over the file (environment and flags).

    Raises:
        StorageError: The file cannot be read.
        FaultyDocumentError: Anything is wrong with it; all faults are listed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    return parse(data, wanted, name=path.name, overrides=overrides)


def parse(
    data: bytes, wanted: type[T], *, name: str, overrides: Mapping[str, str] | None = None
) -> T:
    """Return the YAML text ``data`` as ``wanted``; see ``load``."""
    node, value = _tree(data, name)
    if value is None:
        value = {}
    for dotted, text in (overrides or {}).items():
        _, given = _tree(text.encode(), f"override of {dotted}")
        value = _laid_over(value, dotted.split("."), given)
    lines = _Lines(node, overrides or {})
    faults = list(_faults(value, wanted, "", lines))
    if not faults:
        try:
            return msgspec.convert(value, type=wanted, dec_hook=read_hook)
        except msgspec.ValidationError as error:
            place, reason = split_message(str(error))
            place = place.removeprefix(".")
            faults.append(lines.fault(place, reason))
    raise FaultyDocumentError(name, faults)


def environment(prefix: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return overrides from variables such as ``EDGEOPS_AGENT__OUTBOX__MAX_DISK``.

    ``prefix`` is the program's (``EDGEOPS_AGENT``); ``__`` separates the levels.
    """
    start = prefix + "__"
    return {
        name.removeprefix(start).lower().replace("__", "."): text
        for name, text in sorted(variables.items())
        if name.startswith(start)
    }


def plain(data: bytes, *, name: str) -> object:
    """Return YAML as plain values, with the strict rules but no dataclass."""
    return _tree(data, name)[1]


def _tree(data: bytes, name: str) -> tuple[yaml.Node | None, object]:
    if len(data) > MAX_BYTES:
        raise ContractError(name, f"is longer than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ContractError(f"{name}: line {line}", "aliases (*name) are not read")
            if getattr(event, "tag", None) is not None:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ContractError(f"{name}: line {line}", "tags (!name) are not read")
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, None
            _refuse_duplicates(node, name, 0)
            return node, loader.construct_document(node)
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise ContractError(name, "is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ContractError(f"{name}: line {line}", f"is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ContractError(name, f"is not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise ContractError(name, "is nested too deeply") from error
    except ValueError as error:
        raise ContractError(name, f"is not YAML: {error}") from error


def _refuse_duplicates(node: yaml.Node, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ContractError(f"{name}: line {node.start_mark.line + 1}", "is nested too deeply")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ContractError(f"{name}: line {line}", "a key must be a word")
            if key.value in seen:
                raise ContractError(f"{name}: line {line}", f"the key {key.value!r} stands twice")
            seen.add(key.value)
            _refuse_duplicates(child, name, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_duplicates(child, name, depth + 1)


class _Lines:
    """Finds the line of a dotted path in a node tree."""

    def __init__(self, node: yaml.Node | None, laid_over: Iterable[str] = ()) -> None:
        self._at: dict[str, int] = {}
        self._laid_over = tuple(laid_over)
        if node is not None:
            self._walk(node, "", node.start_mark.line + 1)

    def fault(self, path: str, reason: str) -> Fault:
        """Return a fault at ``path``, with who is to blame."""
        foreign = any(
            path == key or path.startswith((f"{key}.", f"{key}[")) for key in self._laid_over
        )
        return Fault(self.of(path), path, reason, foreign)

    def of(self, path: str) -> int:
        while path:
            if path in self._at:
                return self._at[path]
            path = re.sub(r"(\.[^.\[]*|\[[^\]]*\]|^[^.\[]+)$", "", path)
        return self._at.get("", 1)

    def _walk(self, node: yaml.Node, path: str, line: int) -> None:
        self._at[path] = line
        if isinstance(node, yaml.MappingNode):
            for key, child in node.value:
                self._walk(child, _join(path, str(key.value)), key.start_mark.line + 1)
        elif isinstance(node, yaml.SequenceNode):
            for i, child in enumerate(node.value):
                self._walk(child, f"{path}[{i}]", child.start_mark.line + 1)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _laid_over(value: object, keys: list[str], given: object) -> object:
    if not keys:
        return given
    if value is not None and not isinstance(value, dict):
        return value  # the document's own fault, which an override must not hide
    base = dict(value or {})
    base[keys[0]] = _laid_over(base.get(keys[0]), keys[1:], given)
    return base


def _faults(value: object, wanted: object, path: str, lines: _Lines) -> Iterator[Fault]:
    """Yield every fault below ``path``: unknown and missing keys, and values of a wrong type."""
    wanted = _bare(_not_optional(wanted, value))
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        if not isinstance(value, dict):
            yield lines.fault(path, f"Expected a mapping, got {_kind(value)}")
            return
        hints = typing.get_type_hints(wanted, include_extras=True)
        fields = {field.name: field for field in dataclasses.fields(wanted)}
        for key, child in value.items():
            here = _join(path, str(key))
            if key not in fields:
                near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                known = "" if near else f"; known keys are {', '.join(sorted(fields))}"
                yield lines.fault(here, f"unknown key{hint}{known}")
            else:
                yield from _faults(child, hints[key], here, lines)
        for field in fields.values():
            required = (
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
            )
            if required and field.name not in value:
                yield Fault(lines.of(path), _join(path, field.name), "is required and missing")
        return
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in {dict, Mapping} and isinstance(value, dict) and _holds_dataclass(arguments[1]):
        for key, child in value.items():
            yield from _faults(child, arguments[1], _join(path, str(key)), lines)
        return
    if origin in {tuple, list} and isinstance(value, list) and _holds_dataclass(arguments[0]):
        for i, child in enumerate(value):
            yield from _faults(child, arguments[0], f"{path}[{i}]", lines)
        return
    try:
        msgspec.convert(value, type=cast("type[object]", wanted), dec_hook=read_hook)
    except msgspec.ValidationError as error:
        place, reason = split_message(str(error))
        here = path + place
        yield lines.fault(here, reason if place else with_choices(reason, wanted, value))


def with_choices(reason: str, wanted: object, value: object) -> str:
    """Return ``reason`` and, where ``wanted`` is a list of words, those words."""
    words: list[str] = []
    for member in (wanted, *typing.get_args(wanted)):
        if typing.get_origin(member) is typing.Literal:
            words += [str(word) for word in typing.get_args(member)]
        elif isinstance(member, type) and issubclass(member, StrEnum):
            words += [str(word) for word in member]
    if not words or not reason.startswith("Invalid enum value"):
        return reason
    near = difflib.get_close_matches(str(value), words, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"is {value!r}, expected one of {', '.join(words)}{hint}"


def _bare(wanted: object) -> object:
    """Return a container of dataclasses without its limits, which the last conversion checks."""
    if typing.get_origin(wanted) is typing.Annotated:
        inner: object = typing.get_args(wanted)[0]
        if _holds_dataclass(inner):
            return inner
    return wanted


def _holds_dataclass(wanted: object) -> bool:
    members = (wanted, *typing.get_args(wanted))
    return any(dataclasses.is_dataclass(member) for member in members)


def _not_optional(wanted: object, value: object) -> object:
    if typing.get_origin(wanted) in {typing.Union, types.UnionType} and value is not None:
        rest = [member for member in typing.get_args(wanted) if member is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return wanted


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
    return names.get(type(value), "nothing" if value is None else "a number")
