"""From a topic and bytes to a checked document, or to a refusal with its cause. Pure."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.scalars import Id
from edgeops.contracts.telemetry import MAX_FRAME_BYTES, MAX_WINDOWS, Frame
from edgeops.contracts.update import Connection, DeviceReport
from edgeops.errors import ContractError
from edgeops.topics import Kind, Topic

MAX_BYTES: Final = {
    Kind.CONN: 8 * 1024,
    Kind.REPORTED: 64 * 1024,
    Kind.TELEMETRY: MAX_FRAME_BYTES,
    Kind.ALERT: 16 * 1024,
}
LARGEST: Final = 2**53
"""Numbers above it are not exact in JSON, and far above it no database column holds them."""
MAX_COLUMNS: Final = 256
MAX_LABELS: Final = 1024
MAX_SLOTS: Final = 64
DIGEST_LENGTH: Final = 71

Document = Connection | DeviceReport | Frame | AlertEvent


class Cause(StrEnum):
    """Why a message was not taken; the name of its counter."""

    TOPIC = "topic"
    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    WRONG_DEVICE = "wrong-device"
    UNKNOWN_DEVICE = "unknown-device"
    UNSTORABLE = "unstorable"


@dataclass(frozen=True, slots=True)
class Raw:
    """One message as it came."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message whose form is right; whether its device is known is not yet said."""

    raw: Raw
    device: str
    document: Document


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that is set aside."""

    raw: Raw
    cause: Cause
    detail: str
    device: str = ""
    key: "Key | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameKey:
    """Which windows a frame held that could not be read."""

    device: Id
    boot: Id
    stream: Id
    seq_from: Annotated[int, Meta(ge=1, le=LARGEST)]
    seq_to: Annotated[int, Meta(ge=1, le=LARGEST)]

    def __post_init__(self) -> None:
        if not 0 <= self.seq_to - self.seq_from < MAX_WINDOWS:
            raise ValueError("Expected a frame's worth of windows")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertKey:
    """Which alert could not be read."""

    device: Id
    boot: Id
    event_id: Id


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportKey:
    """Which report could not be read."""

    device: Id
    boot: Id
    report_seq: Annotated[int, Meta(ge=1, le=LARGEST)]


Key = FrameKey | AlertKey | ReportKey
"""What is left of a bad message that can be acknowledged, so that it is not sent for ever."""

_KEYS: Final[dict[Kind, type[FrameKey] | type[AlertKey] | type[ReportKey]]] = {
    Kind.TELEMETRY: FrameKey,
    Kind.ALERT: AlertKey,
    Kind.REPORTED: ReportKey,
}


def read(raw: Raw, *, tenant: str) -> Incoming | Refused:
    """Return what a message says, or why it is refused; raises nothing."""
    try:
        topic = Topic.parse(raw.topic)
    except ContractError as error:
        return Refused(raw, Cause.TOPIC, str(error))
    limit = MAX_BYTES.get(topic.kind)
    if limit is None or topic.tenant != tenant:
        return Refused(raw, Cause.TOPIC, "is not a topic that devices report on", topic.device)
    if len(raw.payload) > limit:
        reason = f"is {len(raw.payload)} bytes long, at most {limit} are read"
        return _refused(raw, topic, Cause.TOO_LARGE, reason)
    try:
        document = _decode(topic, raw.payload)
        _check(document, topic)
    except ContractError as error:
        return _refused(raw, topic, Cause.MALFORMED, str(error))
    if document.device != topic.device:
        reason = f"speaks for {document.device!r} on the topic of {topic.device!r}"
        return Refused(raw, Cause.WRONG_DEVICE, reason, topic.device)
    return Incoming(raw, topic.device, document)


def unstorable(message: Incoming, detail: str) -> Refused:
    """Return the refusal of a message that was read and that the database does not take."""
    topic = Topic.parse(message.raw.topic)
    return _refused(message.raw, topic, Cause.UNSTORABLE, detail)


def _refused(raw: Raw, topic: Topic, cause: Cause, detail: str) -> Refused:
    return Refused(raw, cause, detail, topic.device, _key(raw, topic))


def _key(raw: Raw, topic: Topic) -> Key | None:
    wanted = _KEYS.get(topic.kind)
    if wanted is None:
        return None
    try:
        key = codec.decode(raw.payload, wanted, where="key")
    except ContractError:
        return None
    if key.device != topic.device:
        return None
    if isinstance(key, FrameKey) and key.stream != topic.detail:
        return None
    return key


def _decode(topic: Topic, payload: bytes) -> Document:
    if topic.kind is Kind.CONN:
        return codec.decode(payload, Connection, where="conn")
    if topic.kind is Kind.REPORTED:
        return codec.decode(payload, DeviceReport, where="report")
    if topic.kind is Kind.TELEMETRY:
        return codec.decode(payload, Frame, where="frame")
    return codec.decode(payload, AlertEvent, where="alert")


def _check(document: Document, topic: Topic) -> None:
    """Refuse what has the right types and still cannot be meant or stored."""
    if isinstance(document, Frame):
        if document.stream != topic.detail:
            raise ContractError("frame.stream", f"is not {topic.detail!r} as the topic says")
        _check_frame(document)
    elif isinstance(document, AlertEvent):
        _finite(document.t, "alert.t")
        _finite(document.wall, "alert.wall")
    elif isinstance(document, DeviceReport):
        _bounded(document.report_seq, "report.report_seq")
        if len(document.slots) > MAX_SLOTS:
            raise ContractError("report.slots", f"more than {MAX_SLOTS} of them")
        if len({slot.slot for slot in document.slots}) != len(document.slots):
            raise ContractError("report.slots", "one slot stands there twice")
        for slot in document.slots:
            for name in ("gen", "serial", "attempt"):
                _bounded(getattr(slot, name), f"report.slots.{slot.slot}.{name}")


def _check_frame(frame: Frame) -> None:
    _bounded(frame.seq_to, "frame.seq_to")
    _bounded(frame.shed, "frame.shed")
    _finite(frame.t0, "frame.t0")
    if len(frame.model) > DIGEST_LENGTH:
        raise ContractError("frame.model", "is longer than a digest")
    if frame.base > frame.seq_from:
        raise ContractError("frame.base", f"{frame.base} is above seq_from {frame.seq_from}")
    if len(frame.columns) > MAX_COLUMNS or len(frame.labels) > MAX_LABELS:
        raise ContractError("frame", f"more than {MAX_COLUMNS} columns or {MAX_LABELS} labels")
    for name, column in frame.columns.items():
        for value in column:
            if value is not None:
                _finite(value, f"frame.columns.{name[:40]}")
    for name in ("t", "span_s"):
        if any(value is None or abs(value) > LARGEST for value in frame.columns[name]):
            raise ContractError(f"frame.columns.{name}", "holds a time that cannot be meant")
    for name, counts in frame.labels.items():
        for count in counts:
            _bounded(count, f"frame.labels.{name[:40]}")


def _finite(value: float, place: str) -> None:
    if not math.isfinite(value):
        raise ContractError(place, "is not a finite number")


def _bounded(value: int, place: str) -> None:
    if value > LARGEST:
        raise ContractError(place, f"is above {LARGEST}")
