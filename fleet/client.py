"""Talks to a fleet server's operator interface; its problems become our errors again."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final, Self, cast
from urllib.parse import quote, urlencode

import urllib3

from edgeops.codec import JsonValue
from edgeops.errors import (
    ContractError,
    EdgeOpsError,
    StorageError,
    TransitionError,
    TransportError,
    TrustError,
    UsageError,
)
from fleet.config import load
from fleet.state import TOKEN, read_endpoints, read_token

URL_VARIABLE: Final = "EDGEOPS_FLEET_URL"
TOKEN_VARIABLE: Final = "EDGEOPS_FLEET_TOKEN_FILE"  # noqa: S105  # a variable's name
TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=60.0)
MAX_ANSWER: Final = 64 << 20
CHUNK: Final = 1 << 20

JsonObject = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how we prove ourselves to it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Server({self.url!r})"


class _RemoteContractError(ContractError):
    """A contract error whose sentence came whole from the server."""

    def __init__(self, sentence: str) -> None:
        path, _, reason = sentence.partition(": ")
        super().__init__(path, reason)


_ERRORS: Final[Mapping[str, type[EdgeOpsError]]] = {
    "usage": UsageError,
    "transition": TransitionError,
    "trust": TrustError,
    "storage": StorageError,
    "transport": TransportError,
    "not-found": UsageError,
    "unauthorized": TrustError,
}


def find_server(
    url: str | None = None, token_file: Path | None = None, config: Path | None = None
) -> Server:
    """Return the server meant: by flags, by environment, else the one of the state folder.

    Raises:
        TransportError: No server runs on the state folder.
        StorageError: The token cannot be read.
        ContractError: ``fleet.yaml`` or the token file is damaged.
    """
    url = url or os.environ.get(URL_VARIABLE)
    variable = os.environ.get(TOKEN_VARIABLE)
    if token_file is None and variable:
        token_file = Path(variable)
    if url is None or token_file is None:
        state = load(config).state()
        token_file = token_file or state / TOKEN
        if url is None:
            try:
                url = read_endpoints(state).api
            except StorageError as error:
                raise TransportError(
                    f"no fleet server runs on {state}; start one with 'edgeops fleet serve',"
                    f" or say --server URL (or {URL_VARIABLE})"
                ) from error
    return Server(url.rstrip("/"), read_token(token_file))


class FleetClient:
    """Calls the operator interface; every method raises what the server's problem says.

    Raises:
        TransportError: The server cannot be reached.
        TrustError: It does not accept the token.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pool = urllib3.PoolManager(
            timeout=TIMEOUT,
            retries=False,
            headers={"Authorization": f"Bearer {server.token}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def get(self, *path: str, **query: str | float | None) -> JsonValue:
        """Return the answer to GET of a path below ``/api/v1``."""
        return self._call("GET", path, query=query)

    def get_object(self, *path: str, **query: str | float | None) -> JsonObject:
        """Return an answer that is an object."""
        return _object(self.get(*path, **query))

    def get_list(self, *path: str, **query: str | float | None) -> list[JsonObject]:
        """Return an answer that is a list of objects."""
        found = self.get(*path, **query)
        if not isinstance(found, list):
            raise ContractError("answer", "is not a list")
        return [_object(item) for item in found]

    def post(
        self,
        *path: str,
        body: JsonValue = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | float | None] | None = None,
    ) -> JsonObject:
        """Return the answer to POST of a JSON document."""
        data = b"" if body is None else json.dumps(body).encode()
        return _object(self._call("POST", path, data, headers, query))

    def delete(self, *path: str) -> None:
        """DELETE a path."""
        self._call("DELETE", path)

    def push(self, file: Path) -> JsonObject:
        """Push an ``.edgeops`` file to the registry, in chunks.

        Raises:
            StorageError: The file cannot be read.
        """
        try:
            with file.open("rb") as source:
                length = {"Content-Length": str(file.stat().st_size)}
                return _object(self._call("POST", ("bundles",), _chunks(source), length))
        except OSError as error:
            raise StorageError(f"cannot read {file}: {error.strerror or error}") from error

    def _call(
        self,
        method: str,
        path: tuple[str, ...],
        body: bytes | Iterator[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | float | None] | None = None,
    ) -> JsonValue:
        url = f"{self._server.url}/api/v1/" + "/".join(quote(part, safe="") for part in path)
        fields = {k: _word(v) for k, v in (query or {}).items() if v is not None}
        try:
            answer = self._pool.request(
                method,
                url + ("?" + urlencode(fields) if fields else ""),
                body=body or None,
                headers={
                    "Authorization": f"Bearer {self._server.token}",
                    "Content-Type": "application/json",
                    **(headers or {}),
                },
                preload_content=False,
            )
            data = answer.read(MAX_ANSWER)
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise TransportError(
                f"cannot reach the fleet server at {self._server.url}: {error}"
            ) from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise _problem(answer.status, data)
        return _json(data) if data else {}


def _problem(status: int, data: bytes) -> EdgeOpsError:
    try:
        body = _object(_json(data))
    except ContractError:
        body = {}
    code, detail = str(body.get("code", "")), str(body.get("detail", ""))
    if code == ContractError.code:
        return _RemoteContractError(detail)
    kind = _ERRORS.get(code, TransportError if status >= HTTPStatus.BAD_GATEWAY else EdgeOpsError)
    return kind(detail or f"the server answered {status}")


def _json(data: bytes) -> JsonValue:
    try:
        return cast("JsonValue", json.loads(data))
    except ValueError as error:
        raise ContractError("answer", "is not JSON: is this a fleet server?") from error


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, dict):
        raise ContractError("answer", "is not an object")
    return value


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk


def _word(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
