"""Parts of ``agent.yaml`` that one dataclass cannot say: kinds by ``type``, keys that are keywords.

``yamldoc`` reads the document; the sections ``sources``, ``actions`` and ``rules`` come out of it
as plain mappings and are read here, so that every fault is found at once and carries its line.
"""

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec
import yaml

from edgeops.codec import read_hook, split_message
from edgeops.yamldoc import Fault, with_choices

T = TypeVar("T")

KEYWORDS: Final = {"for": "for_"}
"""Keys of the document whose word Python keeps for itself."""


class LineFinder:
    """Finds the line of a dotted path such as ``rules.defect.when`` in a YAML text."""

    def __init__(self, data: bytes) -> None:
        self._at: dict[str, int] = {"": 1}
        node = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
        if node is not None:
            self._walk(node, "")

    def line_of(self, path: str) -> int:
        """Return the line of ``path`` or of its nearest known parent; 1 where there is none."""
        while path not in self._at:
            path = path.rpartition(".")[0]
        return self._at[path]

    def _walk(self, node: yaml.Node, path: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, child in node.value:
            here = f"{path}.{key.value}" if path else str(key.value)
            self._at[here] = key.start_mark.line + 1
            self._walk(child, here)


class SectionReader:
    """Reads mappings as dataclasses and collects what is wrong with them."""

    def __init__(self, lines: LineFinder) -> None:
        self._lines = lines
        self.faults: list[Fault] = []

    def fault(self, path: str, reason: str) -> None:
        """Note one fault at ``path``."""
        self.faults.append(Fault(self._lines.line_of(path), path, reason))

    def by_type(
        self, path: str, value: Mapping[str, object], kinds: Mapping[str, type[T]]
    ) -> T | None:
        """Return ``value`` as the dataclass that its key ``type`` names, or note the faults."""
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in kinds:
            known = ", ".join(sorted(kinds))
            near = difflib.get_close_matches(str(kind), kinds, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            found = "is missing" if kind is None else f"is {kind!r}"
            self.fault(f"{path}.type", f"{found}, expected one of {known}{hint}")
            return None
        return self.one(path, {k: v for k, v in value.items() if k != "type"}, kinds[kind])

    def one(self, path: str, value: Mapping[str, object], wanted: type[T]) -> T | None:
        """Return ``value`` as ``wanted``, or note every fault below ``path``.

        A key too many is a fault, but no reason not to read the others: what they say is
        checked all the same.
        """
        renamed = {KEYWORDS.get(key, key): child for key, child in value.items()}
        for key, reason in list(_unknown_keys(renamed, wanted)):
            self.fault(f"{path}.{key}", reason)
            del renamed[key]
        faults = list(_value_faults(renamed, wanted))
        for key, reason in faults:
            self.fault(f"{path}.{_word(key)}", reason)
        if faults:
            return None
        try:
            return msgspec.convert(renamed, type=wanted, dec_hook=read_hook)
        except msgspec.ValidationError as error:
            place, reason = split_message(str(error))
            self.fault(path + place, reason)
            return None


def _unknown_keys(value: Mapping[str, object], wanted: type) -> Iterator[tuple[str, str]]:
    fields = {field.name for field in dataclasses.fields(wanted)}
    names = sorted(_word(name) for name in fields)
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(names)}"
            yield key, f"unknown key; {hint}"


def _value_faults(value: Mapping[str, object], wanted: type) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for values of a wrong type and for keys that are missing."""
    hints = typing.get_type_hints(wanted, include_extras=True)
    for key, child in value.items():
        try:
            msgspec.convert(child, type=hints[key], dec_hook=read_hook)
        except msgspec.ValidationError as error:
            yield key, with_choices(split_message(str(error))[1], hints[key], child)
    for field in dataclasses.fields(wanted):
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and field.name not in value:
            yield field.name, "is required and missing"


def _word(name: str) -> str:
    """Return a field's name as the document writes it."""
    return next((word for word, field in KEYWORDS.items() if field == name), name)
