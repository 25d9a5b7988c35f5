"""The few answers of the server's device side (HTTP, Basic authentication).

    GET /device/v1/assignments              -> AssignmentList
    GET /device/v1/bundles/{hex}/manifest   -> the manifest's bytes as stored
    GET /device/v1/bundles/{hex}/signatures -> SignatureList
    GET /device/v1/blobs/{sha256}           -> bytes; Range and ETag

401: unknown device or secret; 403: not assigned to this device; 404: no such thing.
"""

from dataclasses import dataclass
from typing import Final, Literal

from edgeops.trust import Envelope, Signature

ROOT: Final = "/device/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentList:
    """One signed assignment per slot, each a DSSE envelope."""

    v: Literal[1] = 1
    assignments: tuple[Envelope, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureList:
    """The release signatures of one bundle."""

    v: Literal[1] = 1
    signatures: tuple[Signature, ...] = ()
