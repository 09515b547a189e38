"""``GET /`` and ``GET /docs``: the live page and the API's, files that need no network."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, Response

from exporters.problem import Problem

router = APIRouter(include_in_schema=False)
_KINDS = {
    "index.html": "text/html",
    "docs.html": "text/html",
    "app.js": "text/javascript",
    "chart.js": "text/javascript",
    "docs.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def index() -> Response:
    """Serve the page."""
    return _file("index.html")


@router.get("/docs")
async def docs() -> Response:
    """Serve the description of the API, drawn from ``/openapi.json``."""
    return _file("docs.html")


@router.get("/web/{name}")
async def asset(name: str) -> Response:
    """Serve a file of the page."""
    return _file(name)


def _file(name: str) -> Response:
    kind = _KINDS.get(name)
    if kind is None:
        raise Problem(404, "not_found", f"The page has no file {name!r}; it has {', '.join(_KINDS)}.")
    content = (resources.files("exporters") / "web" / name).read_bytes()
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(content, headers=headers, media_type=f"{kind}; charset=utf-8")
