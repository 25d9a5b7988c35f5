"""Routes: devices."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import Field
from pydantic.dataclasses import dataclass

from edgeops.contracts.credential import Credential
from fleet.api.context import ApiContext
from fleet.devices import enrolment, listing
from fleet.devices.enrolment import Enrolment
from fleet.devices.listing import DeviceView, ReportView
from fleet.telemetry import deadletters, summary
from fleet.telemetry.deadletters import DeadLetter
from fleet.telemetry.summary import StreamCursor

Limit = Annotated[int, Query(ge=1, le=listing.MAX_LISTED)]


@dataclass(frozen=True, kw_only=True)
class EnrolRequest:
    """A new device."""

    device: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    site: Annotated[str, Field(max_length=100)] = ""
    board: Annotated[str, Field(max_length=100)] = ""
    labels: Annotated[dict[str, str], Field(default_factory=dict, max_length=32)]


@dataclass(frozen=True, kw_only=True)
class CredentialAnswer:
    """The only copy of a device's secret."""

    v: int
    tenant: str
    device: str
    secret: str


@dataclass(frozen=True, kw_only=True)
class EnrolAnswer:
    """Everything a device needs to reach and to trust this server; keys as PEM."""

    credential: CredentialAnswer
    site: str
    labels: dict[str, str]
    url: str
    mqtt: str
    director: str
    release: dict[str, str]


def routes(ctx: ApiContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/v1/devices", tags=["devices"])

    @router.post("", status_code=201)
    async def enrol(wanted: EnrolRequest) -> EnrolAnswer:
        """Enrol a device; its secret is said once and stored as a hash only."""
        given: Credential = await ctx.database.write(
            lambda connection: enrolment.enrol(
                connection,
                Enrolment(
                    device=wanted.device,
                    site=wanted.site,
                    board=wanted.board,
                    labels=wanted.labels,
                ),
                tenant=ctx.tenant,
                reserved=ctx.reserved,
                now_s=ctx.clock.wall(),
            )
        )
        await ctx.accounts_changed()
        return EnrolAnswer(
            credential=CredentialAnswer(
                v=given.v, tenant=given.tenant, device=given.device, secret=given.secret
            ),
            site=wanted.site,
            labels=wanted.labels,
            url=ctx.endpoints.device,
            mqtt=ctx.endpoints.mqtt,
            director=ctx.director.pem().decode(),
            release={keyid: key.pem().decode() for keyid, key in ctx.release.items()},
        )

    @router.get("")
    async def listed(
        *,
        site: str | None = None,
        board: str | None = None,
        online: bool | None = None,
        decommissioned: bool = False,
        after: str = "",
        limit: Limit = listing.MAX_LISTED,
    ) -> tuple[DeviceView, ...]:
        """List devices by id, each with its slots: desired beside reported."""
        return await ctx.database.read(
            lambda connection: listing.listed(
                connection,
                site=site,
                board=board,
                online=online,
                decommissioned=decommissioned,
                after=after,
                limit=limit,
            )
        )

    @router.get("/{device}")
    async def shown(device: str) -> DeviceView:
        """Show one device."""
        found = await ctx.database.read(lambda connection: listing.shown(connection, device))
        if found is None:
            raise HTTPException(404, f"no device {device!r} is enrolled")
        return found

    @router.delete("/{device}", status_code=204)
    async def decommission(device: str) -> None:
        """Stop trusting a device: its account at the broker and its HTTP access go."""
        await ctx.database.write(
            lambda connection: enrolment.decommission(connection, device, now_s=ctx.clock.wall())
        )
        await ctx.accounts_changed()
        ctx.gone(device)

    @router.get("/{device}/reports")
    async def reports(device: str, limit: Limit = 20) -> tuple[ReportView, ...]:
        """List the newest reports of a device as they came."""
        return await ctx.database.read(
            lambda connection: listing.reports(connection, device, limit=limit)
        )

    @router.get("/{device}/streams")
    async def streams(device: str) -> tuple[StreamCursor, ...]:
        """List where each boot's streams stand."""
        return await ctx.database.read(lambda connection: summary.cursors(connection, device))

    @router.get("/{device}/dead-letters")
    async def dead(device: str, limit: Limit = 20) -> tuple[DeadLetter, ...]:
        """List messages of a device that could not be taken."""
        return await ctx.database.read(
            lambda connection: deadletters.listed(connection, device=device, limit=limit)
        )

    return router
