"""What stands before every route: the operator's token, and a bound on request bodies."""

import hmac
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet.api.problems import problem

OPEN_PATHS: Final = frozenset({"/healthz"})
PUSH_PATH: Final = "/api/v1/bundles"
MAX_BODY: Final = 1 << 20


class Gate:
    """Lets requests with the token through; everything else hears 401 before its body is read.

    Args:
        app: What is behind.
        token: The operator's token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if not self._knows(headers.get(b"authorization", b"")):
            refusal = problem(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "the operator's token is missing or wrong",
                {"WWW-Authenticate": "Bearer"},
            )
            await refusal(scope, receive, send)
            return
        if scope["method"] == "POST" and scope["path"] == PUSH_PATH:
            await self._app(scope, receive, send)  # counts for itself
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY:
            await _too_large()(scope, receive, send)
            return
        await self._app(scope, _bounded(receive), send)

    def _knows(self, header: bytes) -> bool:
        scheme, _, token = header.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


def _too_large() -> ASGIApp:
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "contract", f"at most {MAX_BODY} bytes are read"
    )


def _bounded(receive: Receive) -> Receive:
    """Cut a body without a length off once it is too long: what is left is no JSON any more."""
    left = MAX_BODY

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                return {"type": "http.disconnect"}
        return message

    return bounded
