"""The agent's status and alerts as lines for people; pure."""

from collections.abc import Iterator

from agent.pipeline_port import PipelineStatus
from agent.status import AgentStatus
from edgeops.clock import iso
from edgeops.contracts.alert import AlertEvent


def lines(status: AgentStatus) -> Iterator[str]:
    """Yield the status line by line."""
    yield f"device {status.device}, up {status.uptime_s:.0f} s, edgeops {status.agent}"
    for pipeline in status.pipelines:
        yield _pipeline_line(pipeline)
    for rule in status.rules:
        note = f" ({rule.note})" if rule.note else ""
        yield f"rule {rule.name}: {rule.phase}, {rule.raised} raised{note}"
    for action in status.actions:
        bad = f", {action.failed} failed, {action.dropped} dropped"
        yield f"action {action.name}: {action.delivered} delivered{bad}"
    for slot in status.slots:
        reason = f" ({slot.reason}: {slot.detail})" if slot.reason else ""
        yield f"slot {slot.slot}: {slot.state} {slot.version or 'empty'}{reason}"
    outbox = status.outbox
    yield f"outbox: {outbox.alerts_held} alerts and {outbox.windows_held} windows to send"
    if status.link is not None:
        words = "connected" if status.link.connected else f"offline {status.link.last_error}"
        yield f"fleet: {words.strip()}"
    for notice in status.notices:
        yield f"note: {notice}"


def alert_line(event: AlertEvent) -> str:
    """Return one alert as a line."""
    when = iso(event.wall) if event.clock != "bad" else f"t={event.t:.1f}s"
    return f"{when} {event.state:<7} {event.severity:<8} {event.message or event.rule}"


def _pipeline_line(pipeline: PipelineStatus) -> str:
    model = "no model" if pipeline.model is None else pipeline.model.title
    drops = ", ".join(f"{count} {cause}" for cause, count in sorted(pipeline.drops.items()))
    parts = [
        f"pipeline {pipeline.name}: {pipeline.state}, {model}",
        f"{pipeline.frames} frames",
        f"{pipeline.lat_p50_ms:.2f} ms (95 %: {pipeline.lat_p95_ms:.2f})",
        *([f"{pipeline.errors} without an answer"] if pipeline.errors else []),
        *([f"{pipeline.bad_outputs} useless answers"] if pipeline.bad_outputs else []),
        *([f"dropped {drops}"] if drops else []),
        *([pipeline.detail] if pipeline.detail else []),
    ]
    return ", ".join(parts)
