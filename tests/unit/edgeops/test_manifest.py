"""The manifest says what a device may rely on; each clause is refused where it is broken."""

import json
from collections.abc import Callable

import pytest

from edgeops import codec
from edgeops.bundle import Bundle, parse_manifest
from edgeops.contracts.manifest import Manifest
from edgeops.errors import ContractError


@pytest.fixture
def good(plain_bundle: Callable[..., Bundle]) -> dict[str, object]:
    document = json.loads(plain_bundle().manifest_bytes)
    assert isinstance(document, dict)
    return document


def test_the_canonical_form_is_stable(plain_bundle: Callable[..., Bundle]) -> None:
    data = plain_bundle().manifest_bytes
    assert codec.canonical(parse_manifest(data)) == data


def test_unknown_fields_are_ignored_for_later_releases(good: dict[str, object]) -> None:
    assert parse_manifest(json.dumps({**good, "later": {"x": 1}}).encode()).name == "door"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"schema": 2}, "manifest.schema"),
        ({"name": "Door"}, "manifest.name"),
        ({"name": "../door"}, "manifest.name"),
        ({"version": "1.0"}, "manifest.version"),
        ({"serial": 0}, "manifest.serial"),
        ({"serial": True}, "manifest.serial"),
        ({"serial": "1"}, "manifest.serial"),
        ({"variants": []}, "manifest"),
        ({"inputs": []}, "manifest"),
        ({"task": {"type": "classification"}}, "manifest.task"),
        ({"task": {"type": "sorcery"}}, "manifest.task.type"),
        ({"task": {"type": "detection", "labels": ["a"]}}, "manifest.task"),
        ({"task": {"type": "anomaly"}}, "manifest.task"),
        ({"task": {"type": "keyword", "labels": ["a", "a"]}}, "manifest.task"),
        ({"inputs": [{"preprocess": [{"scale": 1.0, "color": "rgb"}]}]}, "manifest.inputs[0]"),
        ({"inputs": [{"preprocess": [{}]}]}, "manifest.inputs[0].preprocess[0]"),
    ],
)
def test_a_broken_clause_is_refused_with_its_place(
    good: dict[str, object], change: dict[str, object], place: str
) -> None:
    with pytest.raises(ContractError) as caught:
        parse_manifest(json.dumps({**good, **change}).encode())
    assert caught.value.path.startswith(place)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":NaN}'])
def test_what_is_not_a_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        parse_manifest(data)


def test_numbers_that_are_not_finite_have_no_canonical_form(
    plain_bundle: Callable[..., Bundle],
) -> None:
    manifest: Manifest = plain_bundle().manifest
    with pytest.raises(ContractError, match="not finite"):
        codec.canonical({"manifest": manifest, "x": float("nan")})


def test_a_text_that_is_no_unicode_has_no_canonical_form() -> None:
    with pytest.raises(ContractError, match="no Unicode"):
        codec.canonical({"file": "x\udcff"})
