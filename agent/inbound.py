"""Pure: what a message from the server is, and why it is dropped where it is none of ours."""

from dataclasses import dataclass
from typing import Final

from edgeops import codec
from edgeops.contracts.credential import Credential
from edgeops.contracts.telemetry import Ack
from edgeops.contracts.update import Bell
from edgeops.errors import ContractError
from edgeops.topics import Kind, Topic

MAX_BYTES: Final = 256 * 1024

_KINDS: Final[dict[Kind, type[Ack] | type[Bell]]] = {Kind.ACK: Ack, Kind.BELL: Bell}


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that is dropped; ``cause`` names the counter."""

    cause: str


def read_message(
    credential: Credential, topic: str, payload: bytes, *, retained: bool
) -> Ack | Bell | Refused:
    """Return what the server said; never raises, whatever came."""
    if len(payload) > MAX_BYTES:
        return Refused("too_large")
    if retained:
        # Nothing that the server sends down is retained: an old command played back.
        return Refused("retained")
    try:
        place = Topic.parse(topic)
        wanted = _KINDS[place.kind]
    except (ContractError, KeyError):
        return Refused("unknown_topic")
    if (place.tenant, place.device) != (credential.tenant, credential.device):
        return Refused("other_device")
    try:
        return codec.decode(payload, wanted, where=place.kind.value, limit=MAX_BYTES)
    except ContractError:
        return Refused("malformed")
