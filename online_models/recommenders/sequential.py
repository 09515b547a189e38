"""SASRec as it is evaluated, and what every recommender is built on that learns whole histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from online_models.batch import PADDING
from online_models.encoders.one_history import state_after
from online_models.evaluation.interactions import Histories, Interactions, Rows
from online_models.learner import seeded
from online_models.optim.table_rate import with_table_rate
from online_models.recommenders import Factory, Setting
from online_models.recommenders.history_store import Columns, HistoryStore
from online_models.sequence_fitting import Fitted, Fitting, Progress, fit_sequences
from online_models.sequence_learner import NegativeSampler, SequenceLearner, uniform
from online_models.sequences import SequenceLoss, Sequences, binary_cross_entropy, sampled_softmax
from online_models.zoo.sasrec import SASRec


@dataclass(frozen=True, kw_only=True)
class Online:
    """How a stream is learnt."""

    micro_batch: int = 256
    replay: float = 1.0  # targets replayed for each new one
    stored_events: int = 200  # of each user, for the replay
    dropout: float | None = 0.0  # of every dropout layer while a stream is learnt, read twice at most; None: as made
    widths: tuple[int, ...] = (12,)  # histories up to such a length are encoded together; every width costs a pass
    rate: float | None = None  # of the optimiser while a stream is learnt; None: as made
    table_rate: float | None = None  # of the item table, the optimiser's first group of several; None: as made


class SequenceRecommender:
    """Learns histories: a log epoch by epoch (``fit``), a stream a micro-batch at a time (``learn``).

    A micro-batch makes one step. The histories that its users have at its end are encoded once, with all their new
    events as targets; stored windows of any users are replayed beside them.

    Parameters
    ----------
    make_learner
        Makes the learner; seed it there.
    setting
        The catalogue and how it will be used.
    history
        Events that a state is made of.
    fitting
        Epochs, batches and stopping of ``fit``.
    online
        Micro-batches and replay of ``learn``.
    progress
        Called after each epoch of ``fit``.

    Attributes
    ----------
    fitted : Fitted | None
        The curve of the last ``fit``.
    """

    def __init__(
        self,
        make_learner: Callable[[], SequenceLearner],
        setting: Setting,
        *,
        history: int = 50,
        fitting: Fitting | None = None,
        online: Online | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.learner = make_learner()
        self.history = history
        self.online = online or Online()
        self.micro_batch = self.online.micro_batch
        self.fitted: Fitted | None = None
        fitting = replace(fitting or Fitting(), history=history, repeats=setting.repeats, seed=setting.seed)
        limit = fitting.minutes if setting.fit_minutes is None else setting.fit_minutes
        self._fitting = replace(fitting, minutes=limit)
        self._progress = progress
        dropouts = [module for module in self.learner.ranker.modules() if isinstance(module, nn.Dropout)]
        self._dropouts = [(module, module.p) for module in dropouts]
        self._rates = [group["lr"] for group in self.learner.optimizer.param_groups]
        self._random = np.random.default_rng(setting.seed)
        width = max(self.online.stored_events, history + 1, self.micro_batch + 1)  # no new event falls out of sight
        self._store = HistoryStore(setting.user_count, width)

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Learn a whole log."""
        self._set_dropout(None)
        self._set_rates(None, None)
        self.fitted = fit_sequences(
            self.learner, train, validation=validation, settings=self._fitting, progress=self._progress
        )

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Learn a micro-batch of the stream in one step."""
        self._set_dropout(self.online.dropout)
        self._set_rates(self.online.rate, self.online.table_rate)
        newest, new = self._store.extend(events, histories)
        parts = self._windows(newest, new)
        replayed = round(self.online.replay * len(events))
        if replayed:
            parts.append(self._store.draw(replayed, self.history + 1, self._random).sequences())
        self.learner.learn_sequences(*bucketed(parts, self.online.widths))

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score every catalogue row. [B, R]."""
        return self.learner.score_all(histories, self.history)

    def _set_dropout(self, probability: float | None) -> None:
        """Set every dropout layer; None: as it was made."""
        for module, made in self._dropouts:
            module.p = made if probability is None else probability

    def _set_rates(self, rate: float | None, table_rate: float | None) -> None:
        """Set the rates of the optimiser's groups; None: as they were made."""
        groups = self.learner.optimizer.param_groups
        for place, (group, made) in enumerate(zip(groups, self._rates, strict=True)):
            wanted = table_rate if place == 0 and len(groups) > 1 else rate
            group["lr"] = made if wanted is None else wanted

    def _windows(self, newest: Columns, new: Rows) -> list[Sequences]:
        """Cover all new events by windows: one for most users, more for who has more new events than a history."""
        parts, end = [], newest.items.shape[1]
        users = np.arange(len(new))
        while len(users) and end > 1:
            cut = newest.cut(users, end, self.history + 1)
            parts.append(cut.sequences(np.minimum(new[users], self.history)))
            new = new - self.history
            users, end = np.flatnonzero(new > 0), end - self.history
        return parts


def bucketed(parts: Sequence[Sequences], widths: Sequence[int]) -> list[Sequences]:
    """Put rows of equal width together that are of one length nearly, without the padding that all of them have.

    >>> from online_models.bucketing import sequences
    >>> rows = Histories.of([[5, 6], [5, 6, 7, 8]])
    >>> [part.items.tolist() for part in bucketed([sequences(rows, 4)], widths=[2])]
    [[[5, 6]], [[5, 6, 7, 8]]]
    """
    columns = {field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Sequences)}
    lengths, full = (columns["items"] != PADDING).sum(1), columns["items"].shape[1]  # [B]
    edges = [width for width in widths if width < full] + [full]
    groups = []
    for shortest, longest in zip([1, *edges], edges, strict=False):  # one event alone has nothing to learn
        rows = ((lengths > shortest) & (lengths <= longest)).nonzero().squeeze(1)
        if len(rows):
            picked = {name: column[rows] for name, column in columns.items()}
            groups.append(Sequences(**{n: c[:, -longest:] if c.dim() == 2 else c for n, c in picked.items()}))
    return groups


def sasrec_learner(
    setting: Setting,
    *,
    loss: SequenceLoss = sampled_softmax,
    sampler: NegativeSampler = uniform,
    negatives: int = 1_024,
    rate: float = 1e-3,
    table_rate: float = 1e-2,
    **sizes: Any,
) -> SequenceLearner:
    """Make a seeded SASRec whose item table learns at a rate of its own.

    ``sizes`` are fields of :class:`~online_models.zoo.sasrec.SASRec.Config`.
    """
    with seeded(setting.seed):
        ranker = SASRec(SASRec.Config(catalog_rows=setting.rows, **sizes))
    optimizer = with_table_rate(ranker.item_tables(), rate=rate, table_rate=table_rate)
    return SequenceLearner(ranker, optimizer, loss=loss, sampler=sampler, negatives=negatives, seed=setting.seed)


# Chosen on the validation items of Amazon Beauty.
SIZES: dict[str, Any] = {"layers": 1, "dropout": 0.5}
FITTING = Fitting(batch_positions=1_024, evaluate_every=3, patience=4)
BCE_FITTING = Fitting(epochs=120, batch_positions=1_024, evaluate_every=5, patience=5)


class SASRecRecommender(SequenceRecommender):
    """SASRec, which reads a single history with fewer calls: a stream asks for one list at a time."""

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score every catalogue row. [B, R]."""
        ranker = self.learner.ranker
        if len(histories) != 1 or len(histories.items) == 0 or not isinstance(ranker, SASRec):
            return super().score(histories)
        vectors = ranker.items.weight.detach().numpy()  # [R, D]
        newest = histories.items[-min(self.history, ranker.config.history) :]
        core = ranker.core
        state = state_after(vectors[newest], core.places, core.blocks, core.norm, core.scale)  # [D]
        scores: NDArray[np.float32] = (vectors @ state)[None]
        return scores


def online_for(rows: int) -> Online:
    """Give the steps on a stream, chosen on the warm-ups of ml-1m (3,030 items) and Beauty (12,101).

    Where items are few each comes often, and small steps of its row add up; where they are many it comes a few times.
    """
    return Online(micro_batch=64, rate=3e-3, table_rate=1e-3 if rows <= 4_096 else 3e-3)


def sasrec(setting: Setting) -> SequenceRecommender:
    """SASRec with sampled softmax over 1,024 shared negatives."""
    make, online = partial(sasrec_learner, setting, **SIZES), online_for(setting.rows)
    return SASRecRecommender(make, setting, fitting=FITTING, online=online)


def sasrec_bce(setting: Setting) -> SequenceRecommender:
    """SASRec as first published: binary cross-entropy, one negative for each position, plain Adam, many epochs.

    Plain Adam moves a row on between its batches. With one negative a position that is worth more than it costs: rows
    that move only when they are touched had learnt less after as many epochs.
    """
    return SequenceRecommender(partial(_bce_learner, setting), setting, fitting=BCE_FITTING)


def _bce_learner(setting: Setting) -> SequenceLearner:
    with seeded(setting.seed):
        ranker = SASRec(SASRec.Config(catalog_rows=setting.rows, sparse=False, **SIZES))
    adam = partial(torch.optim.Adam, lr=1e-3, fused=True)
    return SequenceLearner(ranker, adam, loss=binary_cross_entropy, negatives=0, seed=setting.seed)


RECOMMENDERS: dict[str, Factory] = {"sasrec": sasrec, "sasrec-bce": sasrec_bce}
