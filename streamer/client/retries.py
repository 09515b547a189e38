"""When a client tries again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from streamer.client.errors import ClientError


@dataclass(frozen=True, kw_only=True)
class Retries:
    r"""Exponential backoff with full jitter: before try :math:`n + 1` a pause drawn from :math:`[0, b \, 2^{n-1}]`.

    Where the server says when (``Retry-After``), the pause is at least that long.

    Parameters
    ----------
    attempts
        Tries in all; 1 never repeats.
    first_seconds
        The longest pause after the first try, :math:`b`.
    most_seconds
        No pause is longer; a server that asks for a longer one is not asked again.

    References
    ----------
    M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.

    Examples
    --------
    >>> Retries(attempts=1).pause_seconds(1, ClientError("busy", repeatable=True)) is None
    True
    """

    attempts: int = 4
    first_seconds: float = 0.1
    most_seconds: float = 5.0

    def pause_seconds(self, attempt: int, failure: ClientError) -> float | None:
        """Say how long to wait after a failed try, 1 for the first; None: give up."""
        if attempt >= self.attempts or not failure.repeatable:
            return None
        asked = failure.retry_after_seconds or 0.0
        if asked > self.most_seconds:
            return None
        return max(asked, random.uniform(0, min(self.most_seconds, self.first_seconds * 2 ** (attempt - 1))))
