"""The server's device side over real HTTP: signs assignments, serves ranges, fails on demand."""

import base64
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from edgeops import codec
from edgeops.bundle import Bundle
from edgeops.contracts.credential import Credential
from edgeops.contracts.device_api import ROOT, AssignmentList, SignatureList
from edgeops.contracts.update import Assignment
from edgeops.trust import ASSIGNMENT_TYPE, Envelope, SigningKey


@dataclass
class FleetServer:
    """A server on a free loopback port.

    Attributes:
        cuts: After how many bytes each next blob answer breaks off, first one first.
        statuses: What each next request is answered with instead, first one first.
        portal: Answer everything with a login page, as a hotel's network does.
        tampered: Blobs whose bytes are changed on the way.
        ignores_range: Answer every range request with the whole, as some proxies do.
        ranges: The Range headers that were asked for.
        served: Blob bytes sent.
    """

    credential: Credential
    director: SigningKey = field(default_factory=SigningKey.generate)
    bundles: dict[str, Bundle] = field(default_factory=dict)
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    portal: bool = False
    tampered: set[str] = field(default_factory=set)
    ignores_range: bool = False
    ranges: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    served: int = 0

    def __enter__(self) -> Self:
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fleet.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10.0)
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, *bundles: Bundle) -> None:
        self.bundles.update({bundle.digest.removeprefix("sha256:"): bundle for bundle in bundles})

    def assign(self, assignment: Assignment, *, key: SigningKey | None = None) -> None:
        envelope = (key or self.director).seal(ASSIGNMENT_TYPE, codec.canonical(assignment))
        self.envelopes[assignment.slot] = envelope

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = request.path.removeprefix(ROOT)
        self.requests[path.split("/")[1]] += 1
        if self.portal:
            self._send(request, 200, b"<html>Please log in</html>")
        elif self.statuses:
            self._send(request, self.statuses.pop(0), b"")
        elif not self._knows(request):
            self._send(request, 401, b"")
        elif path == "/assignments":
            listed = AssignmentList(assignments=tuple(self.envelopes.values()))
            self._send(request, 200, codec.canonical(listed))
        elif match := re.fullmatch(r"/bundles/([0-9a-f]{64})/(manifest|signatures)", path):
            self._metadata(request, match[1], match[2])
        elif match := re.fullmatch(r"/blobs/([0-9a-f]{64})", path):
            self._blob(request, match[1])
        else:
            self._send(request, 404, b"")

    def _knows(self, request: BaseHTTPRequestHandler) -> bool:
        words = f"{self.credential.device}:{self.credential.secret}".encode()
        return request.headers["Authorization"] == f"Basic {base64.b64encode(words).decode()}"

    def _metadata(self, request: BaseHTTPRequestHandler, name: str, what: str) -> None:
        bundle = self.bundles.get(name)
        if bundle is None:
            self._send(request, 404, b"")
        elif what == "manifest":
            self._send(request, 200, bundle.manifest_bytes)
        else:
            listed = SignatureList(signatures=bundle.signatures)
            self._send(request, 200, codec.canonical(listed))

    def _blob(self, request: BaseHTTPRequestHandler, sha256: str) -> None:
        data = self._bytes_of(sha256)
        if data is None:
            self._send(request, 404, b"")
            return
        if sha256 in self.tampered:
            data = bytes([data[0] ^ 1]) + data[1:]
        start, status, headers = 0, 200, {"ETag": f'"{sha256}"'}
        asked = request.headers["Range"]
        if asked:
            self.ranges.append(asked)
            same = request.headers["If-Range"] == f'"{sha256}"'
            if same and not self.ignores_range:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.cuts.pop(0) if self.cuts else None
        self._send(request, status, data[start:], headers=headers, cut=cut)

    def _bytes_of(self, sha256: str) -> bytes | None:
        for bundle in self.bundles.values():
            for ref in bundle.manifest.files():
                if ref.sha256 == sha256:
                    return bundle.path(ref.file).read_bytes()
        return None

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        sent = body if cut is None else body[:cut]
        try:
            request.wfile.write(sent)
        except OSError:  # the client hung up
            request.close_connection = True
        self.served += len(sent) if headers else 0
        if cut is not None:
            request.close_connection = True
