"""A world in which what comes next is of the same group; items say their group in their category."""

from __future__ import annotations

import numpy as np
import torch

from online_models.foundation import FoundationLearner, FoundationModel, HistoryStore, metadata

GROUPS, IN_GROUP, FIRST = 6, 10, 2
ROWS = FIRST + GROUPS * IN_GROUP
NEWCOMER = np.array([FIRST + group * IN_GROUP for group in range(GROUPS)])  # one of each group is never taken


def group_of(rows: np.ndarray) -> np.ndarray:
    return (rows - FIRST) // IN_GROUP


def learner(seed: int = 1, **sizes: float) -> FoundationLearner:
    given = {"catalog_rows": ROWS, "dimension": 16, "length": 10, "layers": 1, "dropout": 0.0, "id_mask_rate": 0.2}
    model = FoundationModel.Config(**(given | sizes))  # type: ignore[arg-type]
    made = FoundationLearner(
        FoundationLearner.Config(model=model, learning_rate=5e-3, negatives=64, batch_windows=32, seed=seed)
    )
    for row in range(FIRST, ROWS):
        tokens = metadata.tokens([f"group {group_of(np.array(row))}"], f"item {row}")
        made.model.item_encoder.describe(row, torch.from_numpy(tokens))
    return made


def history(random: np.random.Generator, group: int, events: int) -> list[int]:
    first = FIRST + group * IN_GROUP
    return [int(row) for row in random.integers(first + 1, first + IN_GROUP, events)]  # never the newcomer


def world(users: int = 60, events: int = 20, seed: int = 0) -> HistoryStore:
    random, store = np.random.default_rng(seed), HistoryStore()
    for user in range(users):
        for time, row in enumerate(history(random, user % GROUPS, events)):
            store.append(user, row, 1, 60.0 * time)
    return store


def observe(made: FoundationLearner, store: HistoryStore) -> None:
    for user in store.users():
        window = store.cut([user], np.zeros(1, np.int64), 10_000)
        made.observe(window.items[0].numpy(), window.times_seconds[0].numpy())


def newcomer_places(made: FoundationLearner, store: HistoryStore) -> np.ndarray:
    """Place of each user's own newcomer among all newcomers, from 0. [U]."""
    users = store.users()
    windows = store.cut(users, np.maximum(store.lengths(users) - 10, 0), 10)
    scores = made.user_vectors(windows) @ made.item_vectors(torch.from_numpy(NEWCOMER)).T  # [U, groups]
    own = np.array([user % GROUPS for user in users])  # type: ignore[operator]
    mine = scores[torch.arange(len(users)), torch.from_numpy(own)]
    return (scores > mine[:, None]).sum(1).numpy()
