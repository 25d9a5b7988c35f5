"""Errors as application/problem+json (RFC 9457), with the stable code of our error tree."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from edgeops import codec
from edgeops.contracts.scalars import PATTERNS
from edgeops.errors import ContractError, EdgeOpsError

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MAX_FAULTS: Final = 20

STATUS: Final = {
    "usage": HTTPStatus.BAD_REQUEST,
    "contract": HTTPStatus.UNPROCESSABLE_ENTITY,
    "trust": HTTPStatus.FORBIDDEN,
    "transition": HTTPStatus.CONFLICT,
    "storage": HTTPStatus.SERVICE_UNAVAILABLE,
    "transport": HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The body of every error.

    Attributes:
        code: As in ``edgeops/errors.py``; never changes.
        detail: One sentence for people.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error response."""
    body = Problem(
        type=f"urn:edgeops:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
    )
    return Response(codec.canonical(body), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have the application answer errors as problems."""
    app.add_exception_handler(EdgeOpsError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _ours(_: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, EdgeOpsError) else "edgeops"
    status = STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s", error)
    return problem(status, code, str(error))


async def _invalid(_: Request, error: Exception) -> Response:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    sentences = [_fault(fault) for fault in faults[:MAX_FAULTS]]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, ContractError.code, "; ".join(sentences))


def _fault(fault: Mapping[str, object]) -> str:
    """Return one of FastAPI's faults as place and reason, with forms in words."""
    place, context = fault.get("loc"), fault.get("ctx")
    parts = place if isinstance(place, tuple) else ()
    pattern = context.get("pattern") if isinstance(context, dict) else None
    words = PATTERNS.get(pattern) if isinstance(pattern, str) else None
    reason = f"Expected {words}" if words else fault.get("msg")
    return f"{'.'.join(str(part) for part in parts)}: {reason}"


async def _http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else ""
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else None
    return problem(
        status, "not-found" if status == HTTPStatus.NOT_FOUND else "http", detail, headers
    )
