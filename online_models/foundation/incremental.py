"""Refreshing on the stream: the newest windows beside old ones, from where the last refresh ended.

A refresh starts warm. Items that it has not met start near the items that resemble them. Its batches hold
``1 - ρ`` newest windows, where only new events are targets, and ``ρ`` windows from anywhere in the stored histories,
where every event is: these do what the sliding epochs do offline, and keep the model from forgetting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models.foundation.histories import HistoryStore
from online_models.foundation.learner import FoundationLearner
from online_models.foundation.model import FoundationModel
from online_models.foundation.windows import hashed

Rows = NDArray[np.int64]
User = str | int


@dataclass(frozen=True)
class Plan:
    """Windows of one refresh, in the order in which they are learnt."""

    users: list[User]  # [W]
    starts: Rows  # [W]
    only_fresh: NDArray[np.bool_]  # [W] False where the window is replayed

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.users)

    def batches(self, size: int) -> list[Plan]:
        """Cut into batches."""
        return [
            Plan(self.users[at : at + size], self.starts[at : at + size], self.only_fresh[at : at + size])
            for at in range(0, len(self), size)
        ]


def plan(store: HistoryStore, length: int, replay_share: float, refresh: int, seed: int = 0) -> Plan:
    """Windows of a refresh: every fresh event as a target, and ``replay_share`` of replayed windows.

    A replayed window begins at ``hash(user, refresh) mod (n - K + 1)``: another place in every refresh, the same after
    a crash. Which users are replayed is drawn from the refresh's number too.

    Raises
    ------
    ValueError
        ``replay_share`` is not in [0, 1).
    """
    if not 0 <= replay_share < 1:
        raise ValueError(f"replay_share is {replay_share}; give a share from 0 to below 1, such as 0.4")
    newest = _newest(store, length)
    random = np.random.default_rng((seed, refresh))
    number = round(len(newest) * replay_share / (1 - replay_share))
    everybody = [user for user, size in zip(store.users(), store.lengths(store.users()), strict=True) if size > 1]
    drawn = random.choice(len(everybody), number, replace=number > len(everybody)) if everybody else np.zeros(0, int)
    replayed = [everybody[place] for place in drawn]
    users = [user for user, _ in newest] + replayed
    starts = np.array([start for _, start in newest] + _offsets(store, replayed, length, refresh).tolist(), np.int64)
    only_fresh = np.arange(len(users)) < len(newest)
    order = random.permutation(len(users))
    return Plan([users[place] for place in order], starts[order], only_fresh[order])


def refresh(
    learner: FoundationLearner,
    store: HistoryStore,
    number: int,
    *,
    replay_share: float = 0.4,
    after_step: Callable[[int, int, dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Learn what is fresh, beside replayed windows; afterwards nothing is fresh.

    Parameters
    ----------
    learner
        What goes on learning.
    store
        Histories with their fresh events, which the learner has observed.
    number
        Of the refresh; offsets and draws come from it.
    replay_share
        ρ.
    after_step
        Called with steps done, steps in all, and what to plot.

    Returns
    -------
    dict
        ``loss`` (mean over steps), ``windows``, ``replayed`` and ``steps``.
    """
    wanted = plan(store, learner.config.model.length, replay_share, number, learner.config.seed)
    parts = wanted.batches(learner.config.batch_windows)
    losses: list[float] = []
    for done, part in enumerate(parts, start=1):
        windows = store.cut(part.users, part.starts, learner.config.model.length, only_fresh=part.only_fresh)
        plotted = learner.learn(windows)
        losses.append(plotted["loss"])
        if after_step is not None:
            after_step(done, len(parts), plotted)
    store.learnt()
    return {
        "loss": float(np.mean(losses)) if losses else 0.0,
        "windows": float(len(wanted)),
        "replayed": float((~wanted.only_fresh).sum()),
        "steps": float(len(parts)),
    }


@torch.no_grad()
def start_new_items(
    model: FoundationModel, rows: Tensor, generator: torch.Generator, neighbours: int = 10, noise: float = 0.1
) -> None:
    """Start the id vectors of new rows [N] near those of items with similar metadata.

    ``E[i] = Σ_j w_ij E[j] + ε`` over the ``neighbours`` seen items with the most similar metadata vector, ``w``
    proportional to the cosine where it is above 0, and ε normal with ``noise`` times the spread of the seen id vectors.
    An item without metadata, or in a catalogue that knows nothing yet, starts at the mean.
    """
    encoder = model.item_encoder
    known = torch.nonzero(encoder.sightings > 0).squeeze(1)
    known = known[~torch.isin(known, rows)]  # [K]
    if len(known) == 0 or len(rows) == 0:
        return
    table = model.items.weight
    mean, spread = table[known].mean(0), table[known].std(unbiased=False)
    meant = torch.nn.functional.normalize(encoder.metadata(encoder.tokens[known]), dim=-1)  # [K, D]
    for part in torch.split(rows, 1_024):
        likeness = torch.nn.functional.normalize(encoder.metadata(encoder.tokens[part]), dim=-1) @ meant.T  # [N, K]
        best, places = likeness.clamp(min=0).topk(min(neighbours, len(known)), dim=1)  # [N, J]
        total = best.sum(1, keepdim=True)  # [N, 1]
        weighted = (best[..., None] * table[known[places]]).sum(1) / total.clamp(min=1e-12)  # [N, D]
        started = torch.where(total > 0, weighted, mean)
        table[part] = started + noise * spread * torch.randn(started.shape, generator=generator)


def _newest(store: HistoryStore, length: int) -> list[tuple[User, int]]:
    """Windows from the newest backwards until every fresh event is a target."""
    users = store.fresh_users()
    found: list[tuple[User, int]] = []
    for user, size, fresh in zip(users, store.lengths(users).tolist(), store.fresh(users).tolist(), strict=True):
        start = max(size - length, 0)
        found.append((user, start))
        # the first event of a window has none before it, so windows share one event
        while start > 0 and start + 1 > size - fresh:
            start = max(start - length + 1, 0)
            found.append((user, start))
    return found


def _offsets(store: HistoryStore, users: list[User], length: int, refresh: int) -> Rows:
    places = np.maximum(store.lengths(users) - length, 0) + 1  # [B]
    offsets: Rows = (hashed(store.numbers(users), refresh) % places.astype(np.uint64)).astype(np.int64)
    return offsets
