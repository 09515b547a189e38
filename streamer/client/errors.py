"""What can go wrong for a client.

::

    ClientError
    ├── Unreachable      no answer: no connection, or not in time
    ├── AnswerError      an answer that is none of ours, or of another version of the API
    └── Problem          the server says what is wrong (status, reason, detail)
"""

from __future__ import annotations

from streamer.errors import HeadwaterError


class ClientError(HeadwaterError):
    """Root of the errors of the client.

    Parameters
    ----------
    message
        What happened.
    repeatable
        Whether the same call may be worth another try.
    """

    def __init__(self, message: str, *, repeatable: bool = False) -> None:
        super().__init__(message)
        self.repeatable = repeatable
        self.retry_after_seconds: float | None = None


class Unreachable(ClientError):
    """No answer came: no connection, or not in time."""


class AnswerError(ClientError):
    """The answer is none of ours, or of another version of the API."""


class Problem(ClientError):
    """The server says what is wrong.

    Parameters
    ----------
    status
        HTTP status.
    reason
        A short machine-readable word (``rate_limited``, ``slate_too_long`` …).
    detail
        What was given, what is allowed, what to do.
    retry_after_seconds
        When it is worth another try, where the server knows.
    request_id
        Names the request in the server's log.
    """

    def __init__(
        self, status: int, reason: str, detail: str, retry_after_seconds: float | None = None, request_id: str = ""
    ) -> None:
        super().__init__(f"{status} {reason}: {detail}", repeatable=status in (429, 503))
        self.status, self.reason, self.detail, self.request_id = status, reason, detail, request_id
        self.retry_after_seconds = retry_after_seconds
