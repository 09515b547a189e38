"""How well the model as it is foresees what it has not learnt yet: asked before every refresh."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.batch import UNKNOWN
from online_models.evaluation.metrics import hit, ranks_of
from online_models.foundation.histories import HistoryStore
from online_models.foundation.learner import FoundationLearner
from online_models.sequences import Sequences

Rows = NDArray[np.int64]
_USERS_AT_ONCE = 256


def recall_of_newest(
    learner: FoundationLearner, store: HistoryStore, *, rows: int, most_users: int, seed: int = 0, k: int = 10
) -> dict[str, float]:
    """Rank the newest event of users with new ones, each after what its user did before.

    All rows are ranked but those of the window that the model reads; the event's own stays in. Ties count against the
    scorer. Popularity counts the events that are asked about too, which is in its favour.

    Parameters
    ----------
    learner
        Has not learnt the fresh events of the store.
    store
        Histories.
    rows
        Catalogue rows in use; the newest events of other items are passed over.
    most_users
        So many are drawn.
    seed
        Of the draw.
    k
        Length of the lists.

    Returns
    -------
    dict
        ``judged`` users, ``recall`` of the model and ``popular_recall``; only ``judged`` where there are none.

    Examples
    --------
    >>> learner, store = FoundationLearner(), HistoryStore()
    >>> recall_of_newest(learner, store, rows=9, most_users=5)
    {'judged': 0.0}
    """
    users = [user for user in store.fresh_users() if store.lengths([user])[0] > 1]
    random = np.random.default_rng(seed)
    users = [users[place] for place in random.permutation(len(users))[:most_users]]
    own: list[Rows] = []
    popular: list[Rows] = []
    item_vectors = learner.item_vectors(torch.arange(rows))  # [R, D]
    counts = learner.model.item_encoder.sightings[:rows].float()  # [R]
    for first in range(0, len(users), _USERS_AT_ONCE):
        part = users[first : first + _USERS_AT_ONCE]
        window = _known(store, part, learner.config.model.length, rows)
        asked, targets = window.without_newest(), window.items[:, -1].numpy()  # [B, T], [B]
        scores = learner.user_vectors(asked) @ item_vectors.T  # [B, R]
        allowed = _allowed(asked, targets, rows)
        own.append(ranks_of(scores.numpy(), targets, allowed))
        popular.append(ranks_of(counts.expand(scores.shape).numpy(), targets, allowed))
    if not sum(map(len, own)):
        return {"judged": 0.0}
    ranks = np.concatenate(own)
    return {
        "judged": float(len(ranks)),
        "recall": float(hit(ranks, k).mean()),
        "popular_recall": float(hit(np.concatenate(popular), k).mean()),
    }


def _known(store: HistoryStore, users: list[str | int], length: int, rows: int) -> Sequences:
    """Newest events of the users and what the model reads before them, where the newest is of an item in use."""
    window = store.cut(users, np.maximum(store.lengths(users) - length - 1, 0), length + 1)
    newest = window.items[:, -1].numpy()
    kept = [user for user, row in zip(users, newest, strict=True) if UNKNOWN < row < rows]
    return store.cut(kept, np.maximum(store.lengths(kept) - length - 1, 0), length + 1)


def _allowed(asked: Sequences, targets: Rows, rows: int) -> NDArray[np.bool_]:
    """Mark what may stand in the lists. [B, R]."""
    allowed, everyone = np.ones((len(targets), rows), bool), np.arange(len(targets))
    # a row beyond those in use is set aside in column 0, which is no item
    read = np.where(asked.items.numpy() < rows, asked.items.numpy(), 0)  # [B, T]
    allowed[everyone[:, None], read] = False
    allowed[:, : UNKNOWN + 1] = False
    return allowed
