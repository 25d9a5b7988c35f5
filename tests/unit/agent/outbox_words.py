"""Alerts and windows for the outbox's tests."""

from pathlib import Path

from agent.outbox.limits import OutboxLimits
from agent.outbox.outbox import Outbox
from edgeops.clock import SystemClock
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.telemetry import Sketch, Window
from edgeops.quantities import ByteSize, Duration

FAST = OutboxLimits(batch=Duration(0.01), min_free=0.0)


def alert(number: int, *, boot: str = "boot1", evidence: float = 0.9) -> AlertEvent:
    return AlertEvent(
        device="d1",
        boot=boot,
        event_id=f"{boot}-{number}",
        alert_id=f"{boot}-a{number}",
        state="raised",
        rule="defect",
        pipeline="belt",
        t=float(number),
        wall=1_800_000_000.0 + number,
        clock="estimated",
        evidence={"score": evidence},
    )


def window(number: int, *, model: str = "", padding: int = 0) -> Window:
    return Window(
        t=1_800_000_000.0 + number,
        span_s=2.0,
        model=model,
        values={"frames": float(number), **{f"x{i}": 1 / 3 for i in range(padding)}},
        sketches={"score": Sketch(edges=(0.0, 0.5, 1.0), counts=(number, 1))},
        labels={"ok": number},
    )


def opened(
    folder: Path, *, boot: str = "boot1", limits: OutboxLimits = FAST, start: bool = True
) -> Outbox:
    outbox = Outbox(
        folder / "outbox.sqlite", device="d1", boot=boot, limits=limits, clock=SystemClock()
    )
    if start:
        outbox.start()
    return outbox


def small(max_disk: int) -> OutboxLimits:
    return OutboxLimits(max_disk=ByteSize(max_disk), batch=Duration(0.01), min_free=0.0)
