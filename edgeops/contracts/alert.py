"""A local alert as it comes home: one event per change of state."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from edgeops.clock import ClockTrust
from edgeops.contracts.scalars import Id

Severity = Literal["low", "medium", "high", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """An alert was raised or cleared.

    Attributes:
        event_id: Unique for ever on this device (``{boot}-{n}``); the server stores it once.
        alert_id: The same for ``raised`` and ``cleared`` of one alert.
        key: What the alert is about within its rule (track, zone, class), or empty.
        t: Evidence time in seconds: position in a file, or monotonic time of a live source.
        wall: Seconds since 1970 as far as the device knew; ``clock`` says how far to believe it.
        evidence: The figures that decided.
        model: Digest of the bundle that answered.
    """

    v: Literal[1] = 1
    device: Id
    boot: Id
    event_id: Id
    alert_id: Id
    state: Literal["raised", "cleared"]
    rule: Annotated[str, Meta(min_length=1, max_length=100)]
    pipeline: Annotated[str, Meta(max_length=100)]
    key: str = ""
    severity: Severity = "medium"
    t: float
    wall: float
    clock: ClockTrust
    evidence: dict[str, float] = field(default_factory=dict)
    model: str = ""
    message: Annotated[str, Meta(max_length=1000)] = ""
