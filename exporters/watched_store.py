"""A session store that is watched: while it is gone nobody waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from exporters import metrics
from exporters.contracts import Session, SessionStore
from exporters.errors import StoreUnavailable

_log = logging.getLogger(__name__)


class WatchedStore:
    """Reads through to a store; after ``failures`` bad reads in a row it refuses at once, until a probe succeeds.

    A read that takes longer than ``slow_ms`` counts as a bad one: a list that waits for it would miss its deadline,
    and the reading threads would all be waiting.

    Parameters
    ----------
    store
        What is read.
    failures
        Bad reads in a row until the store counts as gone.
    slow_ms
        Longest good read; asked for at each one, so that it follows the deadline.
    clock
        Seconds, monotonic.

    References
    ----------
    M. Nygard, "Release It!", 2007, the circuit breaker. No request is ever let through to try: somebody calls
    :meth:`probe` from time to time.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        failures: int = 3,
        slow_ms: Callable[[], float] = lambda: 1_000.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._failures, self._slow_ms, self._clock = store, failures, slow_ms, clock
        self._lock = threading.Lock()
        self._bad_in_a_row = 0
        self._why = ""
        metrics.STORE_UP.set(1)

    @property
    def remote(self) -> bool:
        """Whether a read may wait for another machine."""
        return self._store.remote

    @property
    def gone(self) -> str | None:
        """Why the store counts as gone; None while it answers."""
        return self._why if self._bad_in_a_row >= self._failures else None

    def read(self, user_id: str, now_ms: int) -> Session:
        """Read a user's session.

        Raises
        ------
        StoreUnavailable
            The store failed now, or counts as gone.
        """
        if self.gone is not None:
            raise StoreUnavailable(f"The online store does not answer: {self._why}.")
        return self._read(user_id, now_ms)

    def probe(self) -> str | None:
        """Try the store where it counts as gone; returns why it still does, or None."""
        if self.gone is not None:
            try:
                self._read("", 0)
            except StoreUnavailable:
                pass
        return self.gone

    def _read(self, user_id: str, now_ms: int) -> Session:
        started = self._clock()
        try:
            session = self._store.read(user_id, now_ms)
        except Exception as error:
            self._bad(f"{type(error).__name__} {error}")
            raise StoreUnavailable(f"The online store could not be read: {type(error).__name__} {error}.") from error
        took_ms, slow_ms = 1_000 * (self._clock() - started), self._slow_ms()
        if took_ms > slow_ms:
            self._bad(f"a read took {took_ms:.0f} ms, {slow_ms:.0f} ms is the longest good one")
        elif self._bad_in_a_row:
            self._good()
        return session

    def _bad(self, why: str) -> None:
        with self._lock:
            self._bad_in_a_row += 1
            self._why = why
            turned = self._bad_in_a_row == self._failures
        metrics.STORE_FAILURES.inc()
        if turned:
            metrics.STORE_UP.set(0)
            _log.error("the online store counts as gone after %d bad reads: %s", self._failures, why)

    def _good(self) -> None:
        with self._lock:
            was_gone = self._bad_in_a_row >= self._failures
            self._bad_in_a_row = 0
        if was_gone:
            metrics.STORE_UP.set(1)
            _log.warning("the online store answers again")
