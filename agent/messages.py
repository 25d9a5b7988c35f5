"""What the supervisor and a pipe say to each other: one JSON document per packet, at most 64 KiB.

Pixels never cross; a pipe that is killed at any point leaves nothing half-read, because packets
(``SOCK_SEQPACKET``) arrive whole or not at all.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from edgeops.contracts.manifest import FreeForm, TaskType
from edgeops.contracts.result import Result
from edgeops.contracts.scalars import Precision, Runtime
from edgeops.errors import ContractError

MAX_PACKET_BYTES: Final = 64 * 1024
MAX_LABELS: Final = 1500
MAX_REASON: Final = 1000

STUCK_SOURCE_STATUS: Final = 4
"""A pipe's exit status where a driver does not return, which is no fault of the model."""


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """First message to a pipe.

    Attributes:
        source: See ``agent.sources.options.to_plain``.
        interval_s: Shortest time between two inferences; samples in between are passed over.
    """

    pipeline: str
    source: dict[str, FreeForm]
    interval_s: float = 0.0
    threads: int = 1


class Load(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """Put this bundle in place of the present one between two frames.

    Attributes:
        number: Comes back in the answer.
        folder: Bundle folder; ``None``: run no model and wait.
        variant: Such as ``onnx-int8``; empty: the first that runs here.
    """

    number: int
    folder: str | None
    variant: str = ""
    runtime: Runtime | Literal["auto"] = "auto"
    precision: Precision | Literal["auto"] = "auto"


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Close the source and end."""


ToPipe = Setup | Load | Stop


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One inference.

    Attributes:
        t: Evidence time in seconds.
        ms: Pre-processing, inference and decoding together, in milliseconds.
        result: ``None`` where there was an ``fault``.
        fault: ``bad-output`` (NaN or infinite), ``error``, or empty.
        detail: What was wrong, for people.
    """

    t: float
    ms: float
    result: Result | None = None
    fault: str = ""
    detail: str = ""


class Results(msgspec.Struct, frozen=True, kw_only=True, tag="results"):
    """Inferences in their order."""

    items: tuple[Item, ...]


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag="loaded"):
    """Answer to ``Load``: the bundle answers from the next frame on.

    Attributes:
        digest: Empty where no model is to run.
        score_edges: Edges of the drift reference's score histogram, where the bundle has one.
    """

    number: int
    digest: str = ""
    title: str = ""
    variant: str = ""
    task: TaskType | None = None
    labels: tuple[str, ...] = ()
    score_edges: tuple[float, ...] = ()


class LoadFailed(msgspec.Struct, frozen=True, kw_only=True, tag="load-failed"):
    """Answer to ``Load``: it cannot run; what ran before goes on."""

    number: int
    reason: str


class SourceNews(msgspec.Struct, frozen=True, kw_only=True, tag="source"):
    """The source changed: ``open``, ``lost`` (will be opened again), ``ended``."""

    state: str
    detail: str = ""


class Drops(msgspec.Struct, frozen=True, kw_only=True, tag="drops"):
    """Samples not used since the pipe started, by cause."""

    counts: dict[str, int]


FromPipe = Results | Loaded | LoadFailed | SourceNews | Drops

_encoder = msgspec.json.Encoder()
_to_pipe: msgspec.json.Decoder[ToPipe] = msgspec.json.Decoder(ToPipe)
_from_pipe: msgspec.json.Decoder[FromPipe] = msgspec.json.Decoder(FromPipe)


def encode(message: ToPipe | FromPipe) -> bytes:
    """Return one packet.

    Raises:
        ContractError: It would be longer than a packet may be.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_PACKET_BYTES:
        name = type(message).__name__
        raise ContractError(name, f"is {len(data)} bytes long, at most {MAX_PACKET_BYTES} are sent")
    return data


def encode_item(item: Item) -> bytes:
    """Return one inference as it stands in a packet."""
    return _encoder.encode(item)


def join_items(items: Sequence[bytes]) -> bytes:
    """Return the packet ``Results`` of inferences that were encoded one by one."""
    return b'{"type":"results","items":[' + b",".join(items) + b"]}"


def decode_for_pipe(data: bytes) -> ToPipe:
    """Read one packet in the pipe; raises ``ContractError``."""
    try:
        return _to_pipe.decode(data)
    except msgspec.DecodeError as error:
        raise ContractError("packet", str(error)) from error


def decode_from_pipe(data: bytes) -> FromPipe:
    """Read one packet in the supervisor; raises ``ContractError``."""
    try:
        return _from_pipe.decode(data)
    except msgspec.DecodeError as error:
        raise ContractError("packet", str(error)) from error
