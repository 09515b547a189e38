"""Training of the foundation model: optimiser, negatives, item counts, exact resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models import samplers
from online_models.batch import UNKNOWN
from online_models.foundation.histories import HistoryStore
from online_models.foundation.model import FoundationModel
from online_models.foundation.windows import Windows
from online_models.learner import TorchLearner, seeded
from online_models.optim import LazyAdam
from online_models.sequences import Sequences

Rows = NDArray[np.int64]
_POOL = 8  # batches whose users are sorted by length before they are cut


class FoundationLearner:
    """One gradient step on a batch of windows, and the vectors that come of it.

    Negatives are shared by a batch and drawn from ``½ uniform + ½ count^α`` over the items that have been seen, with
    logQ: the uniform half reaches what nobody takes, the other half is where the ranking is decided.

    Parameters
    ----------
    config
        Sizes and steps.

    Examples
    --------
    >>> learner = FoundationLearner(FoundationLearner.Config(model=FoundationModel.Config(catalog_rows=9, dimension=8)))
    >>> store = HistoryStore()
    >>> for time_seconds, item in enumerate([2, 3, 4, 2, 3, 4]): store.append("ada", item, 1, float(time_seconds))
    >>> learner.observe(np.array([2, 3, 4, 2, 3, 4]), np.arange(6.0))
    >>> window = store.cut(["ada"], np.array([0]), 6)
    >>> losses = [learner.learn(window)["loss"] for _ in range(20)]
    >>> losses[-1] < losses[0], learner.steps
    (True, 20)
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Model and training."""

        model: FoundationModel.Config = FoundationModel.Config()
        learning_rate: float = 1e-3
        negatives: int = 256
        popularity_power: float = 0.75
        batch_windows: int = 128
        seed: int = 7

    def __init__(self, config: Config | None = None) -> None:
        self.config = config = config or self.Config()
        with seeded(config.seed):
            self.model = FoundationModel(config.model)
        self._torch = TorchLearner(self.model, partial(LazyAdam, lr=config.learning_rate), seed=config.seed)
        self._draw = torch.Generator().manual_seed(config.seed)

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._torch.steps

    def observe(self, rows: Rows, times_seconds: NDArray[np.float64]) -> None:
        """Count sightings of items [K]: they date new items and are what negatives are drawn from."""
        known = rows > UNKNOWN
        self.model.item_encoder.observe(torch.from_numpy(rows[known]), torch.from_numpy(times_seconds[known]))

    def learn(self, windows: Sequences) -> dict[str, float]:
        """Take one step; nothing happens (and ``loss`` is 0) where no event of the windows is a target."""
        negatives, log_q = self._negatives()
        if negatives is None or log_q is None or not bool((windows.target_weights[:, 1:] > 0).any()):
            return {"loss": 0.0}
        return self._torch.step(lambda: self.model.sequence_loss(windows, negatives, log_q))

    def fit(
        self,
        store: HistoryStore,
        rule: Windows,
        steps: int,
        *,
        users: Sequence[str | int] | None = None,
        first_epoch: int = 0,
        after_step: Callable[[int, dict[str, float]], bool | None] | None = None,
    ) -> int:
        """Train for a number of steps on windows by a rule; returns the epoch that would come next.

        Two rules with the same seed see the same users in the same batches: only the windows differ.

        Parameters
        ----------
        store
            Histories.
        rule
            Where the windows of an epoch begin.
        steps
            How many.
        users
            Whom to train on; everybody with two events or more where None.
        first_epoch
            Where to go on.
        after_step
            Called with the step's number and what to plot; True ends the training.
        """
        chosen = [user for user in (store.users() if users is None else users) if store.lengths([user])[0] > 1]
        if not chosen:
            return first_epoch
        taken, epoch = 0, first_epoch
        while True:
            for batch in self._epoch(store, chosen, epoch):
                starts = rule.starts(store.numbers(batch), store.lengths(batch), epoch)
                plotted = self.learn(store.cut(batch, starts, rule.length))
                taken += 1
                stop = after_step is not None and after_step(taken, plotted)
                if stop or taken == steps:
                    return epoch + 1
            epoch += 1

    def _epoch(self, store: HistoryStore, users: list[str | int], epoch: int) -> Iterator[list[str | int]]:
        """Users in random order, in batches of similar lengths."""
        random = np.random.default_rng((self.config.seed, epoch))
        order, size = random.permutation(len(users)), self.config.batch_windows
        lengths = store.lengths(users)
        for first in range(0, len(order), _POOL * size):
            pool = order[first : first + _POOL * size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            parts = [pool[start : start + size] for start in range(0, len(pool), size)]
            for place in random.permutation(len(parts)):
                yield [users[index] for index in parts[place]]

    @torch.no_grad()
    def user_vectors(self, windows: Sequences) -> Tensor:
        """Vectors of users after the newest event of their windows. [B, D]."""
        return self.model.encode(windows)[:, -1]

    @torch.no_grad()
    def item_vectors(self, rows: Tensor | None = None) -> Tensor:
        """Vectors of rows [K], of the whole catalogue where None. [K, D]."""
        every = torch.arange(self.config.model.catalog_rows) if rows is None else rows
        return self.model.vectors(every)

    def forget(self, rows: Rows) -> None:
        """Give rows [K] whose item has left a fresh start."""
        self._torch.forget(rows)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, counters and random state."""
        return {"learner": self._torch.state_dict(), "draw": self._draw.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self._torch.load_state_dict(state["learner"])
        self._draw.set_state(state["draw"])

    def _negatives(self) -> tuple[Tensor | None, Tensor | None]:
        """Shared negatives [K] and their log_q [K]; None before anything was seen."""
        seen = self.model.item_encoder.sightings
        active = seen > 0
        if not bool(active.any()):
            return None, None
        powered = torch.where(active, seen.double() ** self.config.popularity_power, 0.0)  # [R]
        mixture = active / active.sum() + powered / powered.sum()
        items, log_q = samplers.popularity(mixture, 1, self.config.negatives, self._draw, alpha=1.0)
        return items[0], log_q[0]
