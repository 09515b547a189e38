"""Sources of candidates that ask another system: they run beside the ranking, and none of them may hold it up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late

from exporters import metrics

_log = logging.getLogger(__name__)
_THREADS = 4
_MOST_WAITING = 64  # asked and not answered: a system that hangs must not pile up work

ItemIds = Sequence[str]


class Pending:
    """What a source was asked, while it answers.

    Parameters
    ----------
    name
        Of the source, for metrics.
    answer
        What will be there; None where the source was not asked at all.
    """

    def __init__(self, name: str, answer: Future[ItemIds] | None) -> None:
        self._name, self._answer = name, answer
        self._taken: ItemIds = ()

    def take(self, deadline: float) -> ItemIds:
        """Wait for the answer until ``deadline`` (:func:`time.perf_counter`); nothing where it is late or failed.

        Asked again it says the same.
        """
        if self._answer is None:
            return self._taken
        try:
            self._taken = self._answer.result(max(0.0, deadline - time.perf_counter()))
            return self._taken
        except Late:
            why = "late"
            self._answer.cancel()
        except Exception as error:
            why = "failed"
            _log.warning("source %s failed, the list goes without it: %s: %s", self._name, type(error).__name__, error)
        finally:
            self._answer = None
        metrics.SOURCES_LEFT_OUT.labels(self._name, why).inc()
        return ()


class SideSources:
    """Asks sources in threads of their own.

    Examples
    --------
    >>> sources = SideSources()
    >>> sources.ask("foundation", lambda: ["a"]).take(time.perf_counter() + 1)
    ['a']
    >>> sources.ask("foundation", lambda: time.sleep(0.1)).take(time.perf_counter())
    ()
    >>> sources.close()
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="source")
        self._room = threading.Semaphore(_MOST_WAITING)

    def ask(self, name: str, call: Callable[[], ItemIds]) -> Pending:
        """Start asking a source; a full queue leaves it out at once."""
        if not self._room.acquire(blocking=False):
            metrics.SOURCES_LEFT_OUT.labels(name, "busy").inc()
            return Pending(name, None)
        try:
            answer = self._pool.submit(call)
        except RuntimeError:  # closed: the server ends, and this list goes without
            self._room.release()
            return Pending(name, None)
        answer.add_done_callback(lambda _: self._room.release())
        return Pending(name, answer)

    def close(self) -> None:
        """Stop the threads; what is asked now is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
