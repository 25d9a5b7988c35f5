"""The report as a document: whatever is written can be read again."""

from dataclasses import MISSING, Field, fields, is_dataclass, replace
from types import NoneType
from typing import get_args, get_type_hints

from converters.report import words
from converters.report.contents import (
    Provenance,
    Report,
    VariantReport,
    without_measurements,
)
from edgeops.contracts.manifest import Card


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


def made(name: str, **changes: object) -> VariantReport:
    base = VariantReport(
        id=name,
        runtime="onnx",
        precision=name,
        file=name,
        size_bytes=1000,
        sha256="0" * 64,
        latency_ms={"p50": 1.0, "p95": 1.2},
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # fields by name, in tests only


def report(*variants: VariantReport) -> Report:
    return Report(
        name="belt",
        version="1.0.0",
        verdict="pass",
        task="classification",
        metric="top1",
        judged=True,
        budget=0.01,
        original=made("original"),
        variants=variants,
        refusals=(),
        concessions=(),
        attempts=(),
        warnings=(),
        card=Card(),
        provenance=Provenance(
            source="net.onnx",
            source_format="onnx",
            source_sha256="0" * 64,
            notes=(),
            gate_samples=1,
            gate_difference=0.0,
            tools={},
            options={},
        ),
    )


def test_the_headline_is_about_a_file_within_the_budget() -> None:
    found = report(made("int8", within_budget=False), made("float16", within_budget=True))

    chosen = words.chosen(found)

    assert chosen is not None
    assert chosen.id == "float16"


def test_which_file_was_fastest_is_a_measurement() -> None:
    found = report(made("int8", fastest=True), made("float16"))
    other = report(made("int8"), made("float16", fastest=True))

    assert without_measurements(found) == without_measurements(other)
