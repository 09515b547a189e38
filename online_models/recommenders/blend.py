"""Blends: many recommenders as sources, weighed by the context, learnt on the stream or on the validation items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from online_models.blend import ListwiseBlend, combine
from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Factory, Recommender, Setting
from online_models.recommenders.content import ContentRecommender, is_described
from online_models.recommenders.counting import (
    FORWARD_READING,
    FORWARD_RULE,
    KNN_READING,
    KNN_RULE,
    SESSION_RULE,
    STEP_READING,
    STEP_RULE,
    PairRecommender,
)
from online_models.recommenders.linear import EaseRecommender, LinearReading, RidgeRecommender, refits_for
from online_models.recommenders.logs import concatenated, histories_before, joined, split_newest
from online_models.recommenders.pair_store import PairReading, PairRule
from online_models.recommenders.recency import OwnItems, PopularityColumns
from online_models.recommenders.user_knn import UserKNN

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


class Blend:
    """A listwise blend of recommenders, itself one.

    A source with ``columns(histories) -> [S, B, R]`` gives several scores of an item, any other one. On a stream each
    event is scored, then the blend's weights take a step on what the sources had said, then the sources learn it; a
    source with a micro-batch above 1 gets its events together when that many have come. Offline the sources are fitted
    on the log, the weights on the validation items, and the sources once more on both; a source with a micro-batch
    above 1 learns by gradients and is fitted once, with the validation items to stop by.

    Parameters
    ----------
    sources
        What is blended.
    setting
        The catalogue, and whether taken items may come again.
    config
        Steps, and how the offline weights are fitted.
    """

    micro_batch = 1

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Steps of the blend and of its offline fit."""

        blend: ListwiseBlend.Config = field(default_factory=ListwiseBlend.Config)
        fit_epochs: int = 12
        fit_batch: int = 64
        fit_candidates: int = 60  # of each source
        fit_users: int = 8_000  # validation users that the offline weights are fitted on, at most

    def __init__(self, sources: Sequence[Recommender], setting: Setting, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self.sources = [_Buffered(source) if source.micro_batch > 1 else source for source in sources]
        self.setting = setting
        self.blend: ListwiseBlend | None = None  # made when the number of columns is known
        self._heard: _Heard | None = None  # what was scored last: learn() asks for the same

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Fit the sources on the log, the weights on the validation items, and the sources on both."""
        if validation is None or len(validation) == 0:
            train, validation = split_newest(train)
        for source in self.sources:
            source.fit(train, validation if isinstance(source, _Buffered) else None)
        self._fit_weights(train, validation)
        for source in self.sources:
            if not isinstance(source, _Buffered):
                source.fit(train, validation)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Take a step on what the sources said before each event, then let them learn it."""
        asked = np.flatnonzero(events.tested & self._may_be_shown(events, histories))
        if len(asked):
            heard = self._hear(histories)
            blend = self._made(len(heard.features) // 2)
            for place in asked.tolist():
                _, gradient = blend.gradient(
                    heard.features[:, place], heard.contexts[place], int(events.items[place]), heard.allowed[place]
                )
                blend.step(gradient)
        for source in self.sources:
            source.learn(events, histories)
        self._heard = None

    def score(self, histories: Histories) -> Floats:
        """Blend the sources' scores. [B, R]."""
        scores = np.empty((len(histories), self.setting.rows), np.float32)
        for part in _batches(np.arange(len(histories)), _AT_ONCE):
            heard = self._hear(histories if len(part) == len(histories) else histories.take(part))
            weights = self._made(len(heard.features) // 2).weights @ heard.contexts.T  # [F, B]
            scores[part] = combine(heard.features, weights)
        return scores

    def _hear(self, histories: Histories) -> _Heard:
        """Ask the sources, once for what is scored and then learnt."""
        if self._heard is None or self._heard.histories is not histories:
            columns = self._ask(histories)
            features = self._made(len(columns)).features(columns)
            self._heard = _Heard(histories, features, context_of(histories), self._allowed(histories))
        return self._heard

    def _ask(self, histories: Histories) -> Floats:
        """Ask every source; what may not be shown is 0, so that it is nobody's largest value. [S, B, R]."""
        columns = np.concatenate([columns_of(source, histories) for source in self.sources])
        columns[:, :, :2] = 0
        if not self.setting.repeats:
            columns[:, _owners(histories), histories.items] = 0
        return columns

    def _made(self, sources: int) -> ListwiseBlend:
        if self.blend is None:
            self.blend = ListwiseBlend(sources, CONTEXTS, self.config.blend)
        return self.blend

    def _may_be_shown(self, events: Interactions, histories: Histories) -> NDArray[np.bool_]:
        """Say no where the event's item is in its history and taken items do not come again. [B]."""
        if self.setting.repeats:
            return np.ones(len(events), bool)
        return np.array(
            [not (histories.items_of(place) == item).any() for place, item in enumerate(events.items.tolist())]
        )

    def _allowed(self, histories: Histories) -> NDArray[np.bool_]:
        """Mark items that may be shown. [B, R]."""
        allowed = np.ones((len(histories), self.setting.rows), bool)
        allowed[:, :2] = False
        if not self.setting.repeats:
            allowed[_owners(histories), histories.items] = False
        return allowed

    def _fit_weights(self, train: Interactions, validation: Interactions) -> None:
        """Learn the weights over the candidates of validation users: the best items of each source."""
        draw = np.random.default_rng(self.setting.seed)
        asked = validation.take(draw.permutation(len(validation))[: self.config.fit_users])
        histories = histories_before(train, asked)
        parts = [
            self._fit_part(histories.take(part), asked.items[part])
            for part in _batches(np.arange(len(asked)), self.config.fit_batch)
        ]
        usable = [part for part in parts if len(part.targets)]
        for _ in range(self.config.fit_epochs):
            for place in draw.permutation(len(usable)).tolist():
                part = usable[place]
                self._made(len(part.scores)).learn_many(part.scores, part.contexts, part.targets, part.allowed)

    def _fit_part(self, histories: Histories, targets: Rows) -> _Part:
        """Gather the best candidates of each source; users whose item no source finds are left out."""
        columns, allowed = self._ask(histories), self._allowed(histories)  # [S, B, R], [B, R]
        shown = np.where(allowed, columns, -np.inf)
        depth = min(self.config.fit_candidates, columns.shape[2] - 1)
        best = np.argpartition(-shown, depth, axis=2)[:, :, :depth]  # [S, B, K]
        found, kept = [], []
        for user, target in enumerate(targets.tolist()):
            rows = np.unique(best[:, user])
            rows = rows[allowed[user, rows]]
            place = np.searchsorted(rows, target)
            if place < len(rows) and rows[place] == target:
                found.append((rows, int(place)))
                kept.append(user)
        width = max((len(rows) for rows, _ in found), default=0)
        scores = np.zeros((len(columns), len(kept), width), np.float32)
        mask = np.zeros((len(kept), width), bool)
        for place, (user, (rows, _)) in enumerate(zip(kept, found, strict=True)):
            scores[:, place, : len(rows)] = columns[:, user][:, rows]
            mask[place, : len(rows)] = True
        places = np.array([place for _, place in found], np.int64)
        return _Part(scores, context_of(histories)[kept], places, mask)


class _Heard(NamedTuple):
    """What the sources say of some histories."""

    histories: Histories
    features: Floats  # [2S, B, R]
    contexts: Floats  # [B, C]
    allowed: NDArray[np.bool_]  # [B, R]


class _Part(NamedTuple):
    """Candidates of some validation users."""

    scores: Floats  # [S, B, N]
    contexts: Floats  # [B, C]
    targets: Rows  # [B]
    allowed: NDArray[np.bool_]  # [B, N]


class _Buffered:
    """A source that learns in micro-batches, inside a blend that learns every event."""

    micro_batch = 1

    def __init__(self, source: Recommender) -> None:
        self.source = source
        self._waiting: list[tuple[Interactions, Histories]] = []
        self._events = 0  # that wait

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        self._waiting, self._events = [], 0
        self.source.fit(train, validation)

    def learn(self, events: Interactions, histories: Histories) -> None:
        self._waiting.append((events, histories))
        self._events += len(events)
        if self._events < self.source.micro_batch:
            return
        logs, asked = zip(*self._waiting, strict=True)
        self._waiting, self._events = [], 0
        self.source.learn(joined(*logs), concatenated(asked))

    def score(self, histories: Histories) -> Floats:
        return self.source.score(histories)


def columns_of(source: Recommender, histories: Histories) -> Floats:
    """Ask one source for values from 0 up: its columns, or exponentials of its scores as logits. [S, B, R]."""
    if hasattr(source, "columns"):
        columns: Floats = source.columns(histories)
        return columns
    logits = source.score(histories)  # [B, R]
    shares: Floats = np.exp(logits - logits[:, 2:].max(axis=1, keepdims=True))
    shares[:, :2] = 0
    return shares[None]


def _owners(histories: Histories) -> Rows | int:
    """Whose history each of the flat items is in. [sum of lengths], or the one that there is."""
    return 0 if len(histories) == 1 else np.repeat(np.arange(len(histories)), histories.lengths)


CONTEXTS = 5
_AT_ONCE = 64  # histories whose features are held: 34 features of 64 x 12,000 items take 100 MB


def context_of(histories: Histories) -> Floats:
    """Constant, new user, log history length, log gap since the last event, same moment as the last event. [B, C]."""
    lengths = histories.lengths
    last = np.zeros(len(histories))
    known = lengths > 0
    last[known] = histories.times_seconds[histories.offsets[1:][known] - 1]
    gaps = np.where(known, np.maximum(histories.now_seconds - last, 0), 0)
    columns = (np.ones(len(histories)), lengths < 5, np.log1p(lengths) / 5, np.log1p(gaps) / 15, known & (gaps == 0))
    return np.stack(columns, axis=1).astype(np.float32)


def counting_sources(setting: Setting) -> list[Recommender]:
    """Everything that counts, read over short, middle and long histories."""
    rows, refits = setting.rows, refits_for(setting.rows)
    forward = SESSION_RULE if setting.repeats else FORWARD_RULE
    sources: list[Recommender] = [
        PopularityColumns(rows),
        PairRecommender(rows, STEP_RULE, STEP_READING),
        PairRecommender(
            rows,
            forward,
            FORWARD_READING,
            PairReading(last=2, decay=0.7),
            PairReading(last=30, decay=0.97),
        ),
        PairRecommender(
            rows,
            KNN_RULE,
            KNN_READING,
            PairReading(last=3, decay=0.7, target_power=0.5),
            PairReading(last=30, decay=1.0, target_power=0.5),
        ),
        UserKNN(rows, setting.user_count),
    ]
    if setting.repeats:
        sources.append(OwnItems(rows))
    if rows <= MOST_LINEAR_ROWS:
        sources.append(EaseRecommender(rows, 100.0, refits, LinearReading(decay=0.7), LinearReading(decay=1.0)))
    if rows <= MOST_RIDGE_ROWS:
        sources.append(RidgeRecommender(rows, 30.0, PairRule(), refits, LinearReading(decay=0.8)))
    if is_described(setting.sample):
        assert setting.sample is not None
        sources.append(ContentRecommender(setting.sample))
    return sources


MOST_RIDGE_ROWS = 4_096  # above, its refits take a minute each, for a small gain
MOST_LINEAR_ROWS = 20_000  # above, a dense item matrix takes more than 1.6 GB


def _batches(order: Rows, size: int) -> Iterator[Rows]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _blend(setting: Setting) -> Blend:
    """Everything that counts, blended by weights that the context moves."""
    return Blend(counting_sources(setting), setting)


RECOMMENDERS: dict[str, Factory] = {"blend": _blend}
