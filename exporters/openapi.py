"""The description of the API: FastAPI's, with the bodies, answers and errors that the routes really have."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from msgspec import Struct

from exporters import answers
from exporters.asks import schema
from exporters.front import is_admin, is_open

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_RETRY_AFTER = {"Retry-After": {"description": "seconds until another try", "schema": {"type": "integer"}}}
_REFUSALS = {
    "401": {"description": "No key, or a wrong one", "content": _PROBLEM},
    "429": {"description": "Above the rate of this key", "content": _PROBLEM, "headers": _RETRY_AFTER},
    "500": {"description": "The server failed; its log says why", "content": _PROBLEM},
    "503": {"description": "Not possible for a while", "content": _PROBLEM, "headers": _RETRY_AFTER},
}
_ERRORS = {
    "400": {"description": "The body is no JSON", "content": _PROBLEM},
    "404": {"description": "There is no such thing", "content": _PROBLEM},
    "408": {"description": "The body came too slowly", "content": _PROBLEM},
    "409": {"description": "Not possible now", "content": _PROBLEM},
    "413": {"description": "The body is too large", "content": _PROBLEM},
    "422": {"description": "The request breaks the contract", "content": _PROBLEM},
}
_FORBIDDEN = {"403": {"description": "The key may not administer", "content": _PROBLEM}}
_KEY = {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}


def operation(
    answer: type[Struct],
    ask: type[Struct] | None = None,
    *,
    status: int = 200,
    errors: tuple[str, ...] = (),
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe one route, for ``openapi_extra``.

    Parameters
    ----------
    answer
        What it answers when all is well.
    ask
        What its body must be; ``body`` describes it where no struct does.
    status
        Of that answer.
    errors
        Statuses of errors beside those of the key, the rate and the server itself.
    body
        OpenAPI ``requestBody``.
    """
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer.__name__}"}}}
    described: dict[str, Any] = {"responses": {str(status): {"content": content}}}
    described["responses"] |= {code: _ERRORS[code] for code in errors}
    if body is not None or ask is not None:
        described["requestBody"] = body if body is not None else schema(ask) if ask is not None else None
        described["responses"] |= {code: _ERRORS[code] for code in ("400", "408", "413", "422")}
    return described


def install(app: FastAPI) -> None:
    """Make ``app.openapi`` complete what FastAPI knows."""
    plain = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    parts = document.setdefault("components", {})
    parts["schemas"] = (
        answers.components()
    )  # FastAPI's own are those of its validation errors, which we answer otherwise
    parts["securitySchemes"] = _KEY
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            _complete(described, method.upper(), path)
    return document


def _complete(described: dict[str, Any], method: str, path: str) -> None:
    responses = described["responses"]
    if "422" in responses:
        responses["422"] = _ERRORS["422"]
    responses["500"] = _REFUSALS["500"]
    if is_open(path):
        return
    responses |= {code: response for code, response in _REFUSALS.items() if code not in responses}
    described["security"] = [{"ApiKey": []}, {}]
    if is_admin(method, path):
        responses |= _FORBIDDEN
