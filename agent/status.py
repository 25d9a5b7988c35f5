"""What the agent says about itself, on the spot: local API, ``agent status``, ``--once``."""

from dataclasses import dataclass, field

from agent.link import LinkState
from agent.outbox.counters import OutboxCounters
from agent.pipeline_port import PipelineStatus
from agent.rules.rulebook import RuleStatus
from agent.sinks.sink import SinkStatus
from edgeops.clock import ClockTrust
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.update import SlotReport


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """One snapshot of a running agent.

    Attributes:
        uptime_s: Monotonic seconds since the start.
        slots: Empty without a fleet.
        link: ``None`` without a fleet.
        notices: What had to be repaired or could not be done at the start.
    """

    v: int = 1
    device: str
    site: str = ""
    boot: str
    agent: str
    uptime_s: float
    wall: float
    clock: ClockTrust
    pipelines: tuple[PipelineStatus, ...] = ()
    rules: tuple[RuleStatus, ...] = ()
    actions: tuple[SinkStatus, ...] = ()
    slots: tuple[SlotReport, ...] = ()
    outbox: OutboxCounters = field(default_factory=OutboxCounters)
    link: LinkState | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertList:
    """The last alerts, newest first."""

    v: int = 1
    alerts: tuple[AlertEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Content of ``state_dir/api.json``: where the running agent answers."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSummary:
    """What one pipeline did in a run."""

    frames: int
    errors: int
    bad_outputs: int
    restarts: int
    windows: int
    drops: dict[str, int]
    state: str
    model: str
    lat_p50_ms: float
    lat_p95_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What ``agent run --once --json`` prints.

    Attributes:
        alerts: Alerts raised, per rule.
    """

    device: str
    boot: str
    seconds: float
    frames: int
    windows: int
    alerts: dict[str, int]
    pipelines: dict[str, PipelineSummary]
    actions: dict[str, SinkStatus]
    outbox: OutboxCounters


def summary_of(status: AgentStatus) -> RunSummary:
    """Return a run's sums from the agent's last status."""
    return RunSummary(
        device=status.device,
        boot=status.boot,
        seconds=round(status.uptime_s, 3),
        frames=sum(pipeline.frames for pipeline in status.pipelines),
        windows=sum(pipeline.windows for pipeline in status.pipelines),
        alerts={rule.name: rule.raised for rule in status.rules},
        pipelines={p.name: _pipeline_summary(p) for p in status.pipelines},
        actions={action.name: action for action in status.actions},
        outbox=status.outbox,
    )


def _pipeline_summary(pipeline: PipelineStatus) -> PipelineSummary:
    return PipelineSummary(
        frames=pipeline.frames,
        errors=pipeline.errors,
        bad_outputs=pipeline.bad_outputs,
        restarts=pipeline.restarts,
        windows=pipeline.windows,
        drops=pipeline.drops,
        state=pipeline.state,
        model="" if pipeline.model is None else pipeline.model.digest,
        lat_p50_ms=pipeline.lat_p50_ms,
        lat_p95_ms=pipeline.lat_p95_ms,
    )
