"""The operator's application, put together."""

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp

from edgeops import __version__
from fleet.api import bundles, devices, observations, problems, rollouts
from fleet.api.context import ApiContext
from fleet.api.gate import Gate


def create_app(ctx: ApiContext, token: str) -> ASGIApp:
    """Return the application; its OpenAPI document is at ``/openapi.json``."""
    app = FastAPI(
        title="EdgeOps fleet",
        version=__version__,
        docs_url=None,  # both pages would load scripts from elsewhere
        redoc_url=None,
        # The gate checks the token before a body is read; this one writes it into the document.
        dependencies=[Depends(HTTPBearer(auto_error=False))],
    )
    problems.install(app)
    for part in (devices, bundles, rollouts, observations):
        app.include_router(part.routes(ctx))
    return Gate(app, token)
