"""The local status over HTTP: loopback only, read only, nothing secret.

    GET /v1/status             -> AgentStatus
    GET /v1/alerts?limit=100   -> AlertList

A page in a browser on the device must not read it through a name of its own (DNS rebinding), so
the ``Host`` header has to be a loopback address.
"""

import contextlib
import http.client
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from agent.status import AgentStatus, AlertList, Endpoint
from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from edgeops.durable import write_atomic
from edgeops.errors import StorageError, TransportError

logger = logging.getLogger(__name__)

API_FILE: Final = "api.json"
TIMEOUT_S: Final = 5.0
DEFAULT_ALERTS: Final = 100
MAX_ALERTS: Final = 1000
MAX_REQUESTS: Final = 16
MAX_ANSWER: Final = 8 << 20
_Request = socket.socket | tuple[bytes, socket.socket]
_Address = tuple[str, int]
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


class LocalApi:
    """Serves on a thread of its own; ``start`` writes where to ``state_dir/api.json``."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        state_dir: Path,
        status: Callable[[], AgentStatus],
        alerts: Callable[[int], tuple[AlertEvent, ...]],
    ) -> None:
        self._file = state_dir / API_FILE
        try:
            self._server = _Server(address, status, alerts)
        except OSError as error:
            host, port = address
            raise StorageError(
                f"cannot listen on {host}:{port}: {error.strerror or error}"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="api", daemon=True
        )

    @property
    def endpoint(self) -> Endpoint:
        """Return the address that was taken."""
        host, port = self._server.server_address[:2]
        return Endpoint(host=str(host), port=int(port))

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()
        try:
            write_atomic(self._file, codec.canonical(self.endpoint))
        except StorageError as error:
            # A full disk may not keep the device from its work; it still answers at this address.
            logger.warning("local status: %s; it answers at %s", error, self.endpoint)

    def stop(self) -> None:
        """Answer no more."""
        with contextlib.suppress(OSError):  # a disk that is read-only by now
            self._file.unlink(missing_ok=True)
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(TIMEOUT_S)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(
        self,
        address: tuple[str, int],
        status: Callable[[], AgentStatus],
        alerts: Callable[[int], tuple[AlertEvent, ...]],
    ) -> None:
        super().__init__(address, _Handler)
        self.status = status
        self.alerts = alerts
        self._places = threading.BoundedSemaphore(MAX_REQUESTS)

    def process_request(self, request: _Request, client_address: _Address) -> None:
        """Answer on a thread of its own, as long as there is a place for one more."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had now: nobody else would give the place back
            self._places.release()
            raise

    def process_request_thread(self, request: _Request, client_address: _Address) -> None:
        """Give the place back when the answer is out."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: _Request, client_address: _Address) -> None:  # noqa: ARG002
        """Log what went wrong; somebody who hangs up early is not worth a traceback."""
        error = sys.exception()
        if isinstance(error, OSError):
            logger.debug("local API: %s", error)
        else:
            logger.error("local API failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:  # the name that http.server calls
        """Answer one request."""
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        if host not in _LOOPBACK:
            self._answer(403, codec.canonical({"error": "only by a loopback address"}))
            return
        parts = urlsplit(self.path)
        if parts.path == "/v1/status":
            self._answer(200, codec.canonical(self.server.status()))
        elif parts.path == "/v1/alerts":
            limit = _limit(parts.query)
            self._answer(200, codec.canonical(AlertList(alerts=self.server.alerts(limit))))
        else:
            self._answer(404, codec.canonical({"error": "no such page"}))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # inherited name
        """Leave requests out of the log unless everything is asked for."""
        logger.debug(format, *args)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


def _limit(query: str) -> int:
    text = parse_qs(query).get("limit", [""])[-1]
    return min(int(text), MAX_ALERTS) if text.isdecimal() else DEFAULT_ALERTS


def ask(state_dir: Path, path: str) -> bytes:
    """Return the running agent's answer to ``GET path``.

    Raises:
        TransportError: No agent runs on this state directory, or it does not answer.
    """
    file = state_dir / API_FILE
    try:
        endpoint = codec.read(file, Endpoint)
    except StorageError as error:
        raise TransportError(f"no agent is running on {state_dir}") from error
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise TransportError(f"no agent is running on {state_dir} ({error})") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise TransportError(f"the agent answered {answer.status}: {_reason(body)}")
    return body


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body).get("error", ""))
    except (ValueError, AttributeError):
        return ""
