"""The two HTTP ports: sockets bound by us, servers run inside our loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import uvicorn
from aiohttp import web
from starlette.types import ASGIApp

from edgeops.errors import StorageError
from fleet.config import Address

BACKLOG: Final = 512
SHUTDOWN_S: Final = 2
KEEPALIVE_S: Final = 30
MAX_OPERATORS: Final = 256
MAX_HEADER: Final = 16 * 1024
MAX_DEVICES: Final = 10_000
PATIENCE_S: Final = 15.0


def bound(address: Address) -> socket.socket:
    """Return a listening socket.

    Raises:
        StorageError: The address is in use, not ours or not allowed.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StorageError(f"cannot listen on {address}: {error.strerror or error}") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the http:// address of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{Address(host, port)}"


class OperatorServer(uvicorn.Server):
    """Uvicorn for the operator's interface, on our socket and without signal handlers."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=KEEPALIVE_S,
                timeout_graceful_shutdown=SHUTDOWN_S,
                limit_concurrency=MAX_OPERATORS,
                h11_max_incomplete_event_size=MAX_HEADER,
            )
        )
        self._listener = listener

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: the composition root has the signals."""
        yield

    async def run_on_our_socket(self) -> None:
        """Serve until ``should_exit`` is set."""
        await self.serve(sockets=[self._listener])


class _Door:
    """Lets devices' connections in: not too many, and none that never says what it wants.

    aiohttp bounds neither, and each connection costs a descriptor that the database needs too.
    """

    def __init__(self, server: web.Server, most: int, patience_s: float) -> None:
        self._server = server
        self._most = most
        self._patience_s = patience_s
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def open(self) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection."""
        if len(self._server.connections) >= self._most:
            return _Refusal()
        guest = self._server()
        self._silent[guest] = asyncio.get_running_loop().call_later(
            self._patience_s, self._show_out, guest
        )
        return guest

    def note(self, request: web.Request) -> None:
        """Note that a connection has asked for something."""
        if (timer := self._silent.pop(request.protocol, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        """Forget who has not asked yet."""
        for timer in self._silent.values():
            timer.cancel()

    def _show_out(self, guest: web.RequestHandler) -> None:
        del self._silent[guest]
        if isinstance(guest.transport, asyncio.Transport):
            guest.transport.abort()


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@contextlib.asynccontextmanager
async def device_server(
    app: web.Application,
    listener: socket.socket,
    *,
    most: int = MAX_DEVICES,
    patience_s: float = PATIENCE_S,
) -> AsyncIterator[None]:
    """Serve the device side while the context is open.

    Args:
        app: Not started yet.
        listener: From ``bound``.
        most: Connections at once; further ones are closed, and devices try again.
        patience_s: How long a new connection may take to its first whole request.
    """
    doors: list[_Door] = []

    @web.middleware
    async def noted(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        doors[0].note(request)
        return await handler(request)

    app.middlewares.insert(0, noted)
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("aiohttp's runner has no server")
    doors.append(_Door(runner.server, most, patience_s))
    serving = await asyncio.get_running_loop().create_server(
        doors[0].open, sock=listener, backlog=BACKLOG
    )
    try:
        yield
    finally:
        serving.close()
        doors[0].close()
        await runner.cleanup()
