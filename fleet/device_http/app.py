"""The device side over HTTP, on a port of its own: sendfile, Range, one credential per device.

Routes and answers are those of ``edgeops.contracts.device_api``.
"""

import asyncio
import base64
import binascii
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiohttp import hdrs, web
from sqlalchemy import Connection

from edgeops import codec
from edgeops.contracts.device_api import ROOT, AssignmentList, SignatureList
from edgeops.errors import StorageError
from edgeops.topics import ID
from fleet.broker.passwords import PasswordHash, hash_password
from fleet.db.engine import Database
from fleet.devices import assignments, enrolment
from fleet.registry import store
from fleet.registry.blobs import BlobStore

logger = logging.getLogger(__name__)

DEVICE: Final = web.RequestKey("device", str)
MAX_BODY: Final = 4096
MAX_SECRET: Final = 256
FOREVER: Final = "private, max-age=31536000, immutable"

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DeviceHttp:
    """Handlers of the device side.

    Args:
        database: Read only here.
        blobs: Where bundles' files stand.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        # Compared for names we do not know, so that the answer takes as long as for others.
        self._nobody = PasswordHash.parse(hash_password("nobody"))
        self.counts: Counter[str] = Counter()

    def application(self) -> web.Application:
        """Return the application; it needs a runner."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._guard])
        app.router.add_get(f"{ROOT}/assignments", self._assignments)
        app.router.add_get(f"{ROOT}/bundles/{{hex:[0-9a-f]{{64}}}}/manifest", self._manifest)
        app.router.add_get(f"{ROOT}/bundles/{{hex:[0-9a-f]{{64}}}}/signatures", self._signatures)
        app.router.add_get(f"{ROOT}/blobs/{{sha256:[0-9a-f]{{64}}}}", self._blob)
        app.on_response_prepare.append(_name_by_content)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        device = await self._authenticated(request)
        if device is None:
            self.counts["401"] += 1
            return _problem(
                401, "unknown device or secret", {hdrs.WWW_AUTHENTICATE: 'Basic realm="edgeops"'}
            )
        request[DEVICE] = device
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = _problem(error.status, error.reason)
        except StorageError as error:
            logger.error("device %s: %s", device, error)  # noqa: TRY400
            response = _problem(503, "the server cannot read its records just now")
        self.counts[str(response.status)] += 1
        return response

    async def _authenticated(self, request: web.Request) -> str | None:
        given = _basic(request.headers.get(hdrs.AUTHORIZATION, ""))
        if given is None:
            return None
        device, secret = given
        stored = await self._database.read(
            lambda connection: enrolment.password_hash(connection, device)
        )
        if stored is None:
            self._nobody.accepts(secret)
            return None
        return device if PasswordHash.parse(stored).accepts(secret) else None

    async def _assignments(self, request: web.Request) -> web.StreamResponse:
        device = request[DEVICE]
        envelopes = await self._database.read(
            lambda connection: assignments.envelopes_of(connection, device)
        )
        return _json(AssignmentList(assignments=envelopes))

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        data = await self._bundle(request, store.manifest_bytes)
        return web.Response(
            body=data, content_type="application/json", headers={hdrs.CACHE_CONTROL: FOREVER}
        )

    async def _signatures(self, request: web.Request) -> web.StreamResponse:
        found = await self._bundle(request, store.signatures)
        return _json(SignatureList(signatures=found))

    async def _bundle(self, request: web.Request, read: Callable[[Connection, str], T | None]) -> T:
        device, digest = request[DEVICE], f"sha256:{request.match_info['hex']}"

        def work(connection: Connection) -> T:
            if store.manifest_bytes(connection, digest) is None:
                raise web.HTTPNotFound(reason="no such bundle")
            if not assignments.is_assigned(connection, device, digest):
                raise web.HTTPForbidden(reason="not assigned to this device")
            found = read(connection, digest)
            if found is None:
                raise web.HTTPNotFound(reason="no such bundle")
            return found

        return await self._database.read(work)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        device, sha256 = request[DEVICE], request.match_info["sha256"]
        allowed = await self._database.read(
            lambda connection: store.may_fetch(connection, device, sha256)
        )
        path = self._blobs.path(sha256)
        if allowed is None or not await asyncio.to_thread(path.is_file):
            raise web.HTTPNotFound(reason="no such blob")
        if not allowed:
            raise web.HTTPForbidden(reason="not assigned to this device")
        known = request.if_none_match or ()
        if any(tag.value == sha256 for tag in known):
            return web.Response(status=304)
        return web.FileResponse(path, headers={hdrs.CACHE_CONTROL: FOREVER})


async def _name_by_content(request: web.Request, response: web.StreamResponse) -> None:
    """Give a blob its digest as ETag; a file's own would change with a restored copy."""
    sha256 = request.match_info.get("sha256")
    if sha256 is not None and response.status in {200, 206, 304}:
        response.headers[hdrs.ETAG] = f'"{sha256}"'
        response.headers[hdrs.CONTENT_TYPE] = "application/octet-stream"


def _basic(header: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    text = name.decode("ascii", errors="replace")
    if not colon or not ID.fullmatch(text) or len(secret) > MAX_SECRET:
        return None
    return text, secret


def _json(document: object) -> web.Response:
    return web.Response(
        body=codec.canonical(document),
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )


def _problem(status: int, title: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=codec.canonical({"status": status, "title": title}),
        content_type="application/problem+json",
        headers=headers,
    )
