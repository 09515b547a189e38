"""The inputs of the served graphs for one user, built with NumPy alone.

Names and shapes are the contract between the exported graphs and the server::

    history_vectors [1, L, D] f32    history_actions [1, L] i64    history_ages_seconds [1, L] f32
    history_mask [1, L] f32          features [1, F] f32           surface [1] i64
    source_vector [1, D] f32         query [1, Q] i64
    candidate_vectors [1, N, D] f32  source_scores [1, N, S] f32   candidate_features [1, N, G] f32

Histories are right-aligned: the newest event sits in column L - 1, padding is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models import vocabulary

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryView:
    """The newest events of a user as arrays, oldest first."""

    rows: NDArray[np.int64]  # [H] catalogue rows
    actions: NDArray[np.int64]  # [H]
    ages_seconds: NDArray[np.float32]  # [H]


def history_view(
    rows: NDArray[np.int64], actions: Sequence[str], times_ms: Sequence[int], now_ms: int, limit: int
) -> HistoryView:
    """Cut a history to its newest ``limit`` events.

    >>> view = history_view(np.array([5, 6]), ["view", "click"], [1_000, 3_000], 4_000, 1)
    >>> view.rows.tolist(), view.ages_seconds.tolist()
    ([6], [1.0])
    """
    newest = slice(-limit, None)
    ages_ms = np.maximum(now_ms - np.asarray(times_ms[newest], np.int64), 0)
    return HistoryView(
        rows=np.asarray(rows[newest], np.int64),
        actions=np.fromiter((vocabulary.action_row(action) for action in actions[newest]), np.int64),
        ages_seconds=(ages_ms / 1_000).astype(np.float32),
    )


def context_feeds(
    history: HistoryView,
    history_vectors: NDArray[np.float32],
    features: NDArray[np.float32],
    source_vector: NDArray[np.float32],
    *,
    surface: str | None,
    query: str | None,
    length: int,
) -> Feeds:
    """Build the inputs that do not depend on the candidates.

    Parameters
    ----------
    history
        H events, H at most ``length``.
    history_vectors
        [H, D] item vectors of the history.
    features
        [F] context features.
    source_vector
        [D] vector of the source item, zeros where there is none.
    surface, query
        As the client gave them.
    length
        L, the fixed length of the history axis.
    """
    return {
        "history_vectors": _right(history_vectors, length)[None],  # [1, L, D]
        "history_actions": _right(history.actions, length)[None],
        "history_ages_seconds": _right(history.ages_seconds, length)[None],
        "history_mask": _right(np.ones(len(history.rows), np.float32), length)[None],
        "features": features.astype(np.float32, copy=False)[None],  # [1, F]
        "surface": np.array([vocabulary.surface_row(surface)], np.int64),
        "source_vector": source_vector[None],  # [1, D]
        "query": vocabulary.query_tokens(query)[None],  # [1, Q]
    }


def candidate_feeds(
    vectors: NDArray[np.float32], source_scores: NDArray[np.float32], features: NDArray[np.float32]
) -> Feeds:
    """Build the inputs of the candidates from vectors [N, D], source scores [N, S] and item features [N, G]."""
    return {
        "candidate_vectors": vectors[None],
        "source_scores": source_scores[None],
        "candidate_features": features[None],
    }


def _right(values: NDArray[Any], length: int) -> NDArray[Any]:
    padded = np.zeros((length, *values.shape[1:]), values.dtype)
    if len(values):
        padded[-len(values) :] = values
    return padded
