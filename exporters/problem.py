"""Errors as RFC 9457 ``application/problem+json``: what was given, what is allowed, what to do."""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

_log = logging.getLogger(__name__)
_TITLES = {
    400: "The body cannot be read",
    401: "The API key is missing or wrong",
    403: "The API key does not allow this",
    404: "Not found",
    405: "Method not allowed",
    408: "The body came too slowly",
    409: "Not possible now",
    413: "The body is too large",
    422: "The request breaks the contract",
    429: "Too many requests",
    500: "The server failed",
    503: "Not possible for a while",
}


class Problem(Exception):
    """An answer that is an error.

    Parameters
    ----------
    status
        HTTP status code.
    reason
        A short machine-readable word (``too_large``, ``wrong_type`` …).
    detail
        What was given, what is allowed.
    retry_after_seconds
        When it is worth another try; rounded up in the header ``Retry-After``.
    members
        Further members of the problem document.
    """

    def __init__(
        self, status: int, reason: str, detail: str, *, retry_after_seconds: float | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds
        self.status = status
        self.reason = reason
        self.detail = detail
        self.members = members


def respond(problem: Problem) -> Response:
    """Turn a problem into its response.

    >>> respond(Problem(413, "too_large", "2 MB given, 1 MB allowed")).headers["content-type"]
    'application/problem+json'
    """
    document = {
        "type": f"urn:headwater:problem:{problem.reason}",
        "title": _TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "reason": problem.reason,
        "detail": problem.detail,
        **problem.members,
    }
    body = msgspec.json.encode(document)
    return Response(body, problem.status, _headers(problem), media_type="application/problem+json")


def _headers(problem: Problem) -> dict[str, str]:
    headers = {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "X-API-Key"
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_seconds)))
    return headers


def crashed(method: str, path: str, error: BaseException) -> Response:
    """Log what no handler expected and turn it into a problem that tells the client nothing of it."""
    _log.error("%s %s failed", method, path, exc_info=error)
    return respond(Problem(500, "internal", "The server failed on this request; its log has the reason."))


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = "not_found" if error.status_code == 404 else "http_error"
    response = respond(Problem(error.status_code, reason, f"{request.method} {request.url.path}: {error.detail}"))
    response.headers.update(error.headers or {})  # 405 says what is allowed
    return response


async def _on_bad_parameter(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    given = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return respond(Problem(422, "wrong_type", given))


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)
