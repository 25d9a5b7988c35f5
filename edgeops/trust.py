"""Keys, signatures and digests. The seam behind which key rotation and delegation will land.

Two roles (after Uptane): the *release* key, offline, says that a bundle is genuine; the *director*
key, online, says what a device must run. A device needs both, so that neither a stolen server nor
a stolen release key alone can make it run foreign weights.

Signatures are Ed25519 (RFC 8032). A bundle's covers the manifest's bytes. Documents on the wire
travel as DSSE envelopes: the signature covers ``PAE(payloadType, payload)``, so that a signature
over one kind of document can never be passed off as another's.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from edgeops import codec
from edgeops.durable import write_atomic
from edgeops.errors import ContractError, StorageError, TrustError

ASSIGNMENT_TYPE: Final = "application/vnd.edgeops.assignment.v1+json"
MAX_KEY_BYTES: Final = 16 * 1024


class Role(StrEnum):
    """What a key may sign."""

    RELEASE = "release"
    DIRECTOR = "director"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One Ed25519 signature; ``sig`` is base64."""

    keyid: str
    sig: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """DSSE envelope: ``payload`` is base64 of the document's bytes exactly as signed."""

    payloadType: str  # noqa: N815  # the field's name in the DSSE specification
    payload: str
    signatures: tuple[Signature, ...]

    def document(self) -> bytes:
        """Return the bytes that were signed.

        Raises:
            ContractError: ``payload`` is not base64.
        """
        try:
            return base64.b64decode(self.payload, validate=True)
        except binascii.Error as error:
            raise ContractError("envelope.payload", f"is not base64: {error}") from error


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key."""

    key: Ed25519PublicKey

    @property
    def keyid(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of the raw public key."""
        raw = self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hashlib.sha256(raw).hexdigest()[:16]

    def pem(self) -> bytes:
        """Return the key as PEM."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a public key (PEM).

        Raises:
            StorageError: The file cannot be read.
            ContractError: It is not an Ed25519 public key.
        """
        try:
            key = load_pem_public_key(_read_key(path))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ContractError(str(path), "is not a public key in PEM") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ContractError(str(path), "is not an Ed25519 public key")
        return cls(key)

    def verifies(self, signature: Signature, message: bytes) -> bool:
        """Return whether ``signature`` over ``message`` was made by this key."""
        try:
            self.key.verify(base64.b64decode(signature.sig, validate=True), message)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key; lives in a file with mode 0600 and is never logged."""

    key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a private key (PEM, not encrypted).

        Raises:
            StorageError: The file cannot be read.
            ContractError: It is not an Ed25519 private key.
        """
        try:
            key = load_pem_private_key(_read_key(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ContractError(str(path), "is not an unencrypted private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ContractError(str(path), "is not an Ed25519 private key")
        return cls(key)

    @property
    def public(self) -> VerifyKey:
        """Return the public half."""
        return VerifyKey(self.key.public_key())

    def save(self, private: Path, public: Path) -> None:
        """Write both halves; the private one readable by its owner only.

        Raises:
            StorageError: The files cannot be written.
        """
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomic(private, pem, mode=0o600)
        write_atomic(public, self.public.pem())

    def sign(self, message: bytes) -> Signature:
        """Return the signature over ``message``."""
        sig = base64.b64encode(self.key.sign(message)).decode()
        return Signature(keyid=self.public.keyid, sig=sig)

    def seal(self, payload_type: str, payload: bytes) -> Envelope:
        """Return ``payload`` in a signed envelope."""
        return Envelope(
            payloadType=payload_type,
            payload=base64.b64encode(payload).decode(),
            signatures=(self.sign(pae(payload_type, payload)),),
        )


class TrustStore:
    """The public keys that this machine trusts, per role."""

    def __init__(
        self, *, release: Iterable[VerifyKey] = (), director: Iterable[VerifyKey] = ()
    ) -> None:
        self._keys: dict[Role, dict[str, VerifyKey]] = {
            Role.RELEASE: {key.keyid: key for key in release},
            Role.DIRECTOR: {key.keyid: key for key in director},
        }

    @classmethod
    def load(cls, *, release: Iterable[Path] = (), director: Iterable[Path] = ()) -> Self:
        """Read public key files; see ``VerifyKey.load`` for the errors."""
        return cls(
            release=[VerifyKey.load(path) for path in release],
            director=[VerifyKey.load(path) for path in director],
        )

    def verify(
        self, role: Role, message: bytes, signatures: Iterable[Signature], *, what: str
    ) -> str:
        """Return the id of the first trusted key of ``role`` that signed ``message``.

        Raises:
            TrustError: No trusted key of that role did.
        """
        seen = []
        for signature in signatures:
            seen.append(signature.keyid[:64])
            key = self._keys[role].get(signature.keyid)
            if key is not None and key.verifies(signature, message):
                return key.keyid
        known = ", ".join(sorted(self._keys[role])) or "none"
        raise TrustError(
            f"{what} has no valid signature of a trusted {role} key"
            f" (signed by {', '.join(seen) or 'nobody'}; trusted: {known})"
        )

    def open(self, role: Role, payload_type: str, envelope: Envelope, *, what: str) -> bytes:
        """Return the document inside ``envelope`` once its signature and type are checked.

        Raises:
            TrustError: Not signed by a trusted key of ``role``, or another kind of document.
            ContractError: The payload is not base64.
        """
        if envelope.payloadType != payload_type:
            raise TrustError(f"{what} is a {envelope.payloadType[:80]!r}, not a {payload_type!r}")
        payload = envelope.document()
        self.verify(role, pae(payload_type, payload), envelope.signatures, what=what)
        return payload


def digest_of(data: bytes) -> str:
    """Return ``sha256:…`` of a document's bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file.

    Raises:
        StorageError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def parse_envelope(data: bytes, *, where: str) -> Envelope:
    """Read a DSSE envelope; raises ``ContractError``."""
    return codec.decode(data, Envelope, where=where)


def development_key(folder: Path | None = None) -> tuple[SigningKey, Path]:
    """Return this user's development release key and its public file; made on first use.

    Bundles signed with it are marked ``development``; a device refuses them unless its
    configuration names this public key.

    Raises:
        StorageError: The configuration folder cannot be written.
    """
    if folder is None:
        base = os.environ.get("XDG_CONFIG_HOME")
        folder = (Path(base) if base else Path.home() / ".config") / "edgeops"
    private, public = folder / "development-release.key", folder / "development-release.pub"
    if private.exists():
        return SigningKey.load(private), public
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror or error}") from error
    key = SigningKey.generate()
    key.save(private, public)
    return key, public


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise StorageError(f"cannot read the key {path}: {error.strerror or error}") from error
    if len(data) > MAX_KEY_BYTES:
        raise ContractError(str(path), "is too long for a key")
    return data
