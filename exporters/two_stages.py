"""A version's graphs as two stages: the session is encoded once, and candidates are scored from that.

The state of a session is a pure function of the version and of the graph's inputs. So it is kept under a digest of
exactly these: there is nothing to invalidate, and a new event, a row of the history that was touched, another surface,
another version or a later moment each look up another entry. What is not asked for any more makes room.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters import metrics
from exporters.feeds import Feeds
from exporters.runtime import LoadedModel

Outputs = dict[str, NDArray[Any]]
_Key = tuple[int, int, bytes]
_ENTRY_BYTES = 1_500  # of an entry beside its arrays


class EncodedSessions:
    """States of sessions, the ``limit_bytes`` asked for last.

    Parameters
    ----------
    limit_bytes
        Bound on the memory of the states; 0 keeps none.

    Examples
    --------
    >>> kept = EncodedSessions(10_000)
    >>> kept.put((1, 0, b"digest"), {"user_vector": np.ones((1, 64), np.float32)})
    >>> kept.get((1, 0, b"digest"))["user_vector"].shape, kept.get((2, 0, b"digest")), len(kept)
    ((1, 64), None, 1)
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._states: OrderedDict[_Key, Outputs] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self._states)

    def get(self, key: _Key) -> Outputs | None:
        """Return a state; None where it is not kept."""
        with self._lock:
            state = self._states.get(key)
            if state is not None:
                self._states.move_to_end(key)
            return state

    def put(self, key: _Key, state: Outputs) -> None:
        """Keep a state."""
        with self._lock:
            self._bytes -= _size(self._states.pop(key, None))
            self._states[key] = state
            self._bytes += _size(state)
            while self._bytes > self._limit_bytes:
                self._bytes -= _size(self._states.popitem(last=False)[1])


class TwoStages:
    """Runs the graphs of whichever version serves.

    A version has ``encode`` and ``score``, or, as earlier ones, ``rank`` alone or beside ``encode``. Where ``score`` is
    there, ``encode`` runs once a request for retrieval and ranking both; all of its outputs are inputs of ``score``, so
    a family may hand over a user vector, or keys and values of the history, or both.

    Parameters
    ----------
    limit_bytes
        Of the states that are kept; 0 keeps none, for graphs whose weights change where they are.

    References
    ----------
    J. Zhai et al., "Actions Speak Louder than Words", ICML 2024 (2402.17152), section 3.3: the history is encoded once
    for all candidates. What differs: states also outlive the request.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._kept = EncodedSessions(limit_bytes) if limit_bytes > 0 else None

    def encode(self, model: LoadedModel, context: Feeds, *, retrieves: bool) -> Outputs:
        """State of a session; empty where the version has none to give, or nothing would ask for it.

        Parameters
        ----------
        model
            The version.
        context
            Inputs that do not depend on the candidates.
        retrieves
            Whether candidates are searched around the user vector.
        """
        graph = model.sessions.get("encode")
        if graph is None or not (retrieves or "score" in model.sessions):
            return {}
        if self._kept is None:
            return graph.run(context)
        key = (id(model), model.loaded_ms, _digest(context))
        state = self._kept.get(key)
        metrics.SESSION_STATES.labels("computed" if state is None else "kept").inc()
        if state is None:
            state = graph.run(context)
            self._kept.put(key, state)
        return state

    def score(self, model: LoadedModel, context: Feeds, state: Outputs, candidates: Feeds) -> Outputs:
        """Logits [1, N] of candidates, and whatever else the version tells."""
        graph = model.sessions.get("score")
        if graph is None:
            return model.sessions["rank"].run({**context, **candidates})
        return {**state, **graph.run({**context, **state, **candidates})}


def _digest(feeds: Mapping[str, NDArray[Any]]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(feeds):
        values = feeds[name]
        digest.update(f"{name}{values.dtype.str}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.digest()


def _size(state: Outputs | None) -> int:
    return 0 if state is None else _ENTRY_BYTES + sum(values.nbytes for values in state.values())
