"""Routes: what came home. Telemetry, alerts, counts, health and metrics."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic.dataclasses import dataclass

from edgeops import __version__
from edgeops.contracts.alert import Severity
from fleet.alerts import store as alerts
from fleet.alerts.store import AlertCount, AlertEntry, AlertFilter, AlertState
from fleet.api.context import ApiContext
from fleet.metrics import exposition
from fleet.telemetry import deadletters, summary
from fleet.telemetry.deadletters import DeadLetter
from fleet.telemetry.summary import Counts, StreamSummary

Limit = Annotated[int, Query(ge=1, le=summary.MAX_LISTED)]


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether the parts work; ``ok`` says all do."""

    ok: bool
    broker: str
    broker_connected: bool
    version: str


def routes(ctx: ApiContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["observations"])

    @router.get("/healthz")
    async def health(response: Response) -> Health:
        """Say whether database and broker answer; open to all, so that probes can ask."""
        await ctx.database.read(lambda connection: connection.exec_driver_sql("SELECT 1").all())
        connected = ctx.connected()
        if not connected:
            response.status_code = 503
        return Health(
            ok=connected,
            broker=ctx.endpoints.broker,
            broker_connected=connected,
            version=__version__,
        )

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return the fleet's figures for Prometheus; no device ids, so the number is bounded."""
        counts = await ctx.database.read(summary.counts)
        text = exposition(counts, ctx.live(), connected=ctx.connected())
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    @router.get("/api/v1/counts")
    async def counts() -> Counts:
        """Return the fleet in numbers."""
        return await ctx.database.read(summary.counts)

    @router.get("/api/v1/telemetry")
    async def telemetry(
        device: str | None = None,
        stream: str | None = None,
        model: str | None = None,
        limit: Limit = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> tuple[StreamSummary, ...]:
        """Return running sums by device, stream and model."""
        return await ctx.database.read(
            lambda connection: summary.summaries(
                connection,
                device_id=device,
                stream_id=stream,
                model=model,
                limit=limit,
                offset=offset,
            )
        )

    @router.get("/api/v1/telemetry/{device}/{stream}/frames")
    async def frames(device: str, stream: str, limit: Limit = 20) -> list[dict[str, object]]:
        """Return the newest frames of a stream."""
        found = await ctx.database.read(
            lambda connection: summary.recent_frames(connection, device, stream, limit=limit)
        )
        return [dict(frame) for frame in found if isinstance(frame, dict)]

    @router.get("/api/v1/alerts")
    async def listed(
        *,
        device: str | None = None,
        rule: str | None = None,
        state: AlertState | None = None,
        severity: Severity | None = None,
        before: int | None = None,
        limit: Limit = 100,
    ) -> tuple[AlertEntry, ...]:
        """List alerts, newest first; ``before`` is the lowest ``row`` of the page before."""
        wanted = AlertFilter(
            device=device, rule=rule, state=state, severity=severity, before=before
        )
        return await ctx.database.read(
            lambda connection: alerts.listed(connection, wanted, limit=limit)
        )

    @router.get("/api/v1/alerts/counts")
    async def alert_counts() -> tuple[AlertCount, ...]:
        """Count alerts by rule, state and severity."""
        return await ctx.database.read(alerts.counted)

    @router.get("/api/v1/dead-letters")
    async def dead(limit: Limit = 100) -> tuple[DeadLetter, ...]:
        """List messages that could not be taken, newest first."""
        return await ctx.database.read(
            lambda connection: deadletters.listed(connection, limit=limit)
        )

    return router
