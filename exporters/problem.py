"""Errors as RFC 9457 ``application/problem+json``: what was given, what is allowed, what to do."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

_log = logging.getLogger(__name__)
_TITLES = {
    400: "The body cannot be read",
    401: "The API key is missing or wrong",
    404: "Not found",
    405: "Method not allowed",
    409: "Not possible now",
    413: "The body is too large",
    422: "The request breaks the contract",
    503: "Not ready",
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
    members
        Further members of the problem document.
    """

    def __init__(self, status: int, reason: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
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
    headers = {"WWW-Authenticate": "X-API-Key"} if problem.status == 401 else None
    return Response(body, problem.status, headers, media_type="application/problem+json")


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = "not_found" if error.status_code == 404 else "http_error"
    return respond(Problem(error.status_code, reason, f"{request.method} {request.url.path}: {error.detail}"))


async def _on_bad_parameter(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    given = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return respond(Problem(422, "wrong_type", given))


async def _on_crash(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return respond(Problem(500, "internal", "The server failed on this request; its log has the reason."))


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)
    app.add_exception_handler(Exception, _on_crash)
