"""The report as a document: whatever is written can be read again."""

from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType
from typing import get_args, get_type_hints

from converters.report.contents import Report


def classes_of(hint: object) -> set[type]:
    """Return the dataclasses that a type is made of."""
    if isinstance(hint, type) and is_dataclass(hint):
        return {hint}
    return {found for part in get_args(hint) for found in classes_of(part)}


def has_default(item: Field[object]) -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def test_every_field_that_may_be_left_out_has_a_default() -> None:
    """Documents leave ``None`` out, so a field without a default could not be read again."""
    seen: set[type] = set()
    left: set[type] = {Report}
    faults = []
    while left:
        owner = left.pop()
        seen.add(owner)
        hints = get_type_hints(owner)
        for item in fields(owner):
            hint = hints[item.name]
            left |= classes_of(hint) - seen
            if NoneType in get_args(hint) and not has_default(item):
                faults.append(f"{owner.__name__}.{item.name}")

    assert len(seen) > 15
    assert faults == []
