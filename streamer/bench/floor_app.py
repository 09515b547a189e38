"""The smallest server of the same kind: FastAPI and uvicorn, a body read and an answer of the same size sent.

``python -m streamer.bench.floor_app PORT BYTES``. What it needs at a rate, no server built on them can undercut.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Request, Response


def build(answer_bytes: int) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    answer_bytes
        Length of its one answer.
    """
    app = FastAPI()
    answer = b"[" + b" " * (answer_bytes - 2) + b"]"

    async def read_and_answer(request: Request) -> Response:
        await request.body()
        return Response(answer, media_type="application/json")

    for path in ("/recommend", "/rank", "/similar", "/events"):
        app.post(path)(read_and_answer)
    app.get("/health/ready")(read_and_answer)
    return app


if __name__ == "__main__":
    uvicorn.run(build(int(sys.argv[2])), port=int(sys.argv[1]), log_level="warning", access_log=False)
