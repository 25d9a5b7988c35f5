"""Signatures bind bytes, role and kind of document."""

import base64
import dataclasses
import stat
from pathlib import Path

import pytest

from edgeops.errors import ContractError, StorageError, TrustError
from edgeops.trust import (
    ASSIGNMENT_TYPE,
    Envelope,
    Role,
    Signature,
    SigningKey,
    TrustStore,
    VerifyKey,
    development_key,
    pae,
)


def test_pae_is_the_specification_example() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_an_envelope_opens_for_its_role_and_type_only() -> None:
    key = SigningKey.generate()
    envelope = key.seal(ASSIGNMENT_TYPE, b"{}")
    director = TrustStore(director=[key.public])

    assert director.open(Role.DIRECTOR, ASSIGNMENT_TYPE, envelope, what="it") == b"{}"
    with pytest.raises(TrustError, match="no valid signature"):
        TrustStore(release=[key.public]).open(Role.DIRECTOR, ASSIGNMENT_TYPE, envelope, what="it")
    with pytest.raises(TrustError, match="not a 'other'"):
        director.open(Role.DIRECTOR, "other", envelope, what="it")


@pytest.mark.parametrize(
    "change",
    [
        {"payload": base64.b64encode(b"[]").decode()},
        {"signatures": ()},
        {"signatures": (Signature(keyid="0" * 16, sig="AAAA"),)},
    ],
)
def test_a_changed_envelope_does_not_open(change: dict[str, object]) -> None:
    key = SigningKey.generate()
    envelope = dataclasses.replace(key.seal(ASSIGNMENT_TYPE, b"{}"), **change)  # type: ignore[arg-type]  # values of mixed fields
    with pytest.raises(TrustError):
        TrustStore(director=[key.public]).open(Role.DIRECTOR, ASSIGNMENT_TYPE, envelope, what="it")


def test_a_raw_signature_is_no_envelope_signature() -> None:
    """A release signature over bytes must not pass for a director's over the same bytes."""
    key = SigningKey.generate()
    forged = Envelope(
        payloadType=ASSIGNMENT_TYPE,
        payload=base64.b64encode(b"{}").decode(),
        signatures=(key.sign(b"{}"),),
    )
    with pytest.raises(TrustError):
        TrustStore(director=[key.public]).open(Role.DIRECTOR, ASSIGNMENT_TYPE, forged, what="it")


def test_a_payload_that_is_not_base64_is_refused() -> None:
    key = SigningKey.generate()
    envelope = dataclasses.replace(key.seal(ASSIGNMENT_TYPE, b"{}"), payload="%%%")
    with pytest.raises(ContractError):
        TrustStore(director=[key.public]).open(Role.DIRECTOR, ASSIGNMENT_TYPE, envelope, what="it")


def test_keys_survive_disk_and_the_private_one_is_private(tmp_path: Path) -> None:
    key = SigningKey.generate()
    key.save(tmp_path / "k.key", tmp_path / "k.pub")

    signature = SigningKey.load(tmp_path / "k.key").sign(b"x")

    assert VerifyKey.load(tmp_path / "k.pub").verifies(signature, b"x")
    assert not VerifyKey.load(tmp_path / "k.pub").verifies(signature, b"y")
    assert stat.S_IMODE((tmp_path / "k.key").stat().st_mode) == 0o600


def test_files_that_are_no_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.pub").write_bytes(b"hello")
    with pytest.raises(ContractError, match="public key"):
        VerifyKey.load(tmp_path / "no.pub")
    with pytest.raises(ContractError, match="private key"):
        SigningKey.load(tmp_path / "no.pub")
    with pytest.raises(StorageError):
        VerifyKey.load(tmp_path / "missing.pub")


def test_the_development_key_is_made_once(tmp_path: Path) -> None:
    first, public = development_key(tmp_path / "c")
    second, _ = development_key(tmp_path / "c")
    assert first.public.keyid == second.public.keyid == VerifyKey.load(public).keyid
