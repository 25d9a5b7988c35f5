"""What a device proves itself with, to the broker and to the server alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edgeops import codec
from edgeops.contracts.scalars import Id


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """User name (tenant and device) and secret; MQTT password and HTTP Basic password are one.

    The secret never reaches a log: ``repr`` leaves it out.
    """

    v: Literal[1] = 1
    tenant: Id
    device: Id
    secret: Annotated[str, Meta(min_length=16, max_length=256)]

    def __repr__(self) -> str:
        return f"Credential(tenant={self.tenant!r}, device={self.device!r})"


def load_credential(path: Path) -> Credential:
    """Read a credential file; raises ``StorageError`` or ``ContractError``."""
    return codec.read(path, Credential, where=path.name)
