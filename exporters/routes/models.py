"""``GET /models`` and ``POST /models/rollback``."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from exporters import bodies
from exporters.answers import Models, RolledBack
from exporters.asks import RollbackAsk
from exporters.openapi import operation
from exporters.problem import Problem
from exporters.services import services_of
from exporters.students import ServedStudent, Students

router = APIRouter(tags=["models"])


@router.get("/models", openapi_extra=operation(Models))
async def get_models(request: Request) -> Response:
    """List the published versions of every student, newest first, and say which ones serve here, and whom."""
    services = services_of(request)
    versions = await asyncio.to_thread(services.list_models)
    students = {student.name: _described(services.students, student) for student in services.students}
    return bodies.json({"serving": services.model_version, "students": students, "versions": versions})


def _described(students: Students, student: ServedStudent) -> dict[str, Any]:
    host = student.host
    return {
        "share": students.share(student.name),
        "serving": host.version or None,
        "pinned": host.pinned,
        "age_seconds": round(host.age_seconds, 1),
        "items": len(student.tables.live_rows()),
        "canary": student.canary.describe() if student.canary is not None else None,
    }


@router.post("/models/rollback", openapi_extra=operation(RolledBack, RollbackAsk, errors=("404", "409")))
async def post_rollback(request: Request) -> Response:
    """Serve an earlier version again, on every server."""
    services = services_of(request)
    ask = await bodies.decode(request, RollbackAsk, services.limits.body_bytes)
    name = ask.name or services.students.first.name
    if name not in services.students:
        known = ", ".join(services.students.names())
        raise Problem(404, "unknown_student", f"There is no student {name!r}; this server serves {known}.")
    version = await services.rollback(name, ask.version)
    return bodies.json({"name": name, "rolled_back_to": version})
