"""Routes: the registry."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response

from fleet.api.context import ApiContext
from fleet.registry import store
from fleet.registry.store import BundleDetail, BundleEntry, PushOutcome


def routes(ctx: ApiContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/v1/bundles", tags=["bundles"])

    @router.post(
        "",
        status_code=201,
        openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}},
    )
    async def push(request: Request, response: Response) -> PushOutcome:
        """Push one .edgeops file as the body; 201 where it is new, 200 where it was known."""
        outcome = await ctx.pusher.push(request.stream())
        if not outcome.created:
            response.status_code = 200
        return outcome

    @router.get("")
    async def listed(
        name: str | None = None,
        limit: Annotated[int, Query(ge=1, le=store.MAX_LISTED)] = store.MAX_LISTED,
    ) -> tuple[BundleEntry, ...]:
        """List bundles, newest first."""
        return await ctx.database.read(
            lambda connection: store.listed(connection, name=name, limit=limit)
        )

    @router.get("/{reference}")
    async def shown(reference: str) -> BundleDetail:
        """Show a bundle by digest, the beginning of its digest, name@version, or name."""
        found = await ctx.database.read(
            lambda connection: store.detail(connection, store.resolve(connection, reference))
        )
        if found is None:
            raise HTTPException(404, f"no bundle {reference!r}")
        return found

    return router
