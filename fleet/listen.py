"""The two HTTP ports: sockets bound by us, servers run inside our loop."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
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


@contextlib.asynccontextmanager
async def device_server(app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
    """Serve the device side while the context is open."""
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        yield
    finally:
        await runner.cleanup()
