"""Routes: rollouts. Every decision may name the revision that was looked at."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy import Connection

from edgeops import codec
from fleet.api.context import ApiContext
from fleet.rollouts.service import MOST_LISTED, RolloutService
from fleet.rollouts.spec import parse_spec
from fleet.rollouts.view import MemberView, RolloutView

Revision = Annotated[
    int | None, Query(description="Refuse if the rollout has changed since this revision.")
]


class Decision(Protocol):
    """One of the service's decisions without further arguments."""

    def __call__(
        self, connection: Connection, rollout_id: str, *, expected_revision: int | None = None
    ) -> RolloutView:
        """Decide; return the rollout as it is then."""
        ...


def routes(ctx: ApiContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/v1/rollouts", tags=["rollouts"])
    service = RolloutService(assignments=ctx.assigner, clock=ctx.clock)

    async def decided(decision: Callable[[Connection], RolloutView]) -> RolloutView:
        found = await ctx.database.write(decision)
        ctx.ring()
        ctx.tick()
        return found

    @router.post(
        "",
        status_code=201,
        response_model=None,
        openapi_extra={
            "requestBody": {
                "description": "A rollout policy, see docs: bundle, slot, selector, stages, gate.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    )
    async def create(
        request: Request,
        *,
        supersede: bool = False,
        draft: bool = False,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Start a rollout; the same Idempotency-Key again returns the same rollout."""
        # Long lists of devices take a while to read, and messages must not wait for them.
        spec = await asyncio.to_thread(parse_spec, await request.body(), name="rollout")
        created = await ctx.database.write(
            lambda connection: service.create(
                connection,
                spec,
                request_key=idempotency_key,
                supersede=supersede,
                draft=draft,
            )
        )
        ctx.ring()
        ctx.tick()
        return Response(codec.canonical(created), 201, media_type="application/json")

    @router.get("")
    async def listed(
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = MOST_LISTED,
    ) -> list[RolloutView]:
        """List rollouts, newest first."""
        return await ctx.database.read(
            lambda connection: list(service.list(connection, limit=limit))
        )

    @router.get("/{rollout}")
    async def shown(rollout: str) -> RolloutView:
        """Show one rollout with its stages."""
        return await ctx.database.read(lambda connection: service.show(connection, rollout))

    @router.get("/{rollout}/devices")
    async def members(rollout: str) -> tuple[MemberView, ...]:
        """List the devices of a rollout."""
        return await ctx.database.read(lambda connection: service.members(connection, rollout))

    @router.get("/{rollout}/explain", response_model=None)
    async def explained(rollout: str) -> Response:
        """Show every decision about a rollout, once the chain of its evidence is checked."""
        found = await ctx.database.read(lambda connection: service.explain(connection, rollout))
        return Response(codec.canonical(found), media_type="application/json")

    @router.post("/{rollout}/start", response_model=None)
    async def start(
        rollout: str, *, expected: Revision = None, supersede: bool = False
    ) -> Response:
        """Begin a draft."""
        found = await ctx.database.write(
            lambda connection: service.start(
                connection, rollout, expected_revision=expected, supersede=supersede
            )
        )
        ctx.ring()
        ctx.tick()
        return Response(codec.canonical(found), media_type="application/json")

    @router.post("/{rollout}/resume")
    async def resume(
        rollout: str, *, expected: Revision = None, accept: bool = False
    ) -> RolloutView:
        """Go on after a pause; ``accept`` takes the current stage as passed without proof."""
        return await decided(
            lambda connection: service.resume(
                connection, rollout, expected_revision=expected, accept=accept
            )
        )

    simple: tuple[tuple[str, Decision, str], ...] = (
        ("approve", service.approve, "Let a rollout that awaits approval run."),
        ("refuse", service.refuse, "Refuse a rollout that awaits approval."),
        ("pause", service.pause, "Admit no further device."),
        ("abort", service.abort, "End it: devices on the way go back, the others keep the bundle."),
        ("revert", service.revert, "End it: every device goes back to what it ran before."),
    )
    for name, decision, text in simple:
        _add_decision(router, name, decision, text, decided)
    return router


def _add_decision(
    router: APIRouter,
    name: str,
    decision: Decision,
    text: str,
    decided: Callable[[Callable[[Connection], RolloutView]], Awaitable[RolloutView]],
) -> None:
    async def route(rollout: str, expected: Revision = None) -> RolloutView:
        return await decided(
            lambda connection: decision(connection, rollout, expected_revision=expected)
        )

    router.post(f"/{{rollout}}/{name}", name=name, description=text)(route)
