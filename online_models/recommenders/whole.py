"""The whole: sources, their linear blend, and a network over both, all learnt on the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.candidate_network import CandidateLists, CandidateNetwork, stacked
from online_models.evaluation.interactions import Histories, Interactions, Rows
from online_models.learner import seeded
from online_models.recommenders import Factory, Recommender, Setting
from online_models.recommenders.blend import CONTEXTS, Blend, counting_sources
from online_models.recommenders.hstu import hstu
from online_models.recommenders.item_facts import FACTS, ItemFacts
from online_models.recommenders.list_store import ListStore
from online_models.recommenders.logs import histories_before, joined
from online_models.recommenders.sequential import sasrec

Floats = NDArray[np.float32]
_FLOOR = -1e4  # logit of what may not be shown
_AT_ONCE = 64  # histories whose features are held
_FAR = -20.0  # a logit this far behind the first is as good as that one


class Whole(Blend):
    """A listwise blend whose first N items are scored once more, by a network that hears all sources at once.

    The blend is learnt as ever, by a loss of its own. The network adds to its logits (see
    :class:`~online_models.candidate_network.CandidateNetwork`) and starts at zero, so that the whole is never worse
    than a blend because it has not learnt yet. Candidates are chosen without a look at the target. An event gives one
    list; every ``step_events`` lists the network takes a step on them and on others drawn from the last ``stored``.

    Parameters
    ----------
    sources
        What is blended.
    setting
        The catalogue, and whether taken items may come again.
    config
        Steps of blend and network.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Blend.Config):
        """Steps of the blend and of the network."""

        candidates: int = 128
        network: CandidateNetwork.Config = field(default_factory=CandidateNetwork.Config)
        learning_rate: float = 1e-3
        step_events: int = 16
        replayed: int = 48  # lists drawn from the store for each step
        stored: int = 4_096
        network_epochs: int = 3  # of the offline fit

    config: Config

    def __init__(self, sources: Sequence[Recommender], setting: Setting, config: Config | None = None) -> None:
        super().__init__(sources, setting, config or self.Config())
        self.facts = ItemFacts(setting.rows, setting.sample)
        self.network: CandidateNetwork | None = None
        self.store = ListStore(self.config.stored)
        self._draw = torch.Generator().manual_seed(setting.seed)
        self._listed: tuple[Histories, Rows, CandidateLists] | None = None
        self._new = 0

    def score(self, histories: Histories) -> Floats:
        """Blend the sources' scores and add the network's say on the first N. [B, R]."""
        if len(histories) > _AT_ONCE:
            parts = np.array_split(np.arange(len(histories)), -(-len(histories) // _AT_ONCE))
            return np.concatenate([self.score(histories.take(part)) for part in parts])
        logits = super().score(histories)  # [B, R]
        rows, lists = self._lists(histories, logits)
        network = self._networked(lists)
        if network.training:
            network.eval()
        with torch.inference_mode():
            residual = network(lists.inputs, lists.contexts).numpy()  # [B, N]
        np.put_along_axis(logits, rows, np.take_along_axis(logits, rows, 1) + residual, 1)
        return logits

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Keep the lists of the events as lessons, step when there are enough, then let blend and sources learn."""
        asked = np.flatnonzero(events.tested & self._may_be_shown(events, histories))
        if len(asked):
            rows, lists = self._lists(histories, None)
            self.store.add(_with_targets(lists, rows, events.items), torch.from_numpy(asked))
            self._new += len(asked)
        if self._new >= self.config.step_events:
            self._step(self.store.newest(self._new), self.store.drawn(self.config.replayed, self._draw))
            self._new = 0
        super().learn(events, histories)
        for target, time in zip(events.items.tolist(), events.times_seconds.tolist(), strict=True):
            self.facts.observe(target, time)
        self._listed = None

    def _lists(self, histories: Histories, logits: Floats | None) -> tuple[Rows, CandidateLists]:
        """Candidates of each history [B, N] and what is known of them, computed once for score and learn."""
        if self._listed is None or self._listed[0] is not histories:
            blended = super().score(histories) if logits is None else logits
            self._listed = histories, *self._choose(histories, blended)
        return self._listed[1], self._listed[2]

    def _choose(self, histories: Histories, blended: Floats) -> tuple[Rows, CandidateLists]:
        heard = self._hear(histories)
        allowed = np.where(heard.allowed, blended, _FLOOR)  # [B, R]
        count = min(self.config.candidates, allowed.shape[1] - 2)
        rows = np.argpartition(-allowed, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(allowed, rows, 1), axis=1, kind="stable")
        rows = np.take_along_axis(rows, order, 1)  # [B, N] best first
        own = np.take_along_axis(allowed, rows, 1)
        np.put_along_axis(allowed, rows, _FLOOR, 1)  # what is left is the rest
        return rows, CandidateLists(
            inputs=torch.from_numpy(self._inputs(histories, rows, own)),
            contexts=torch.from_numpy(heard.contexts),
            blended=torch.from_numpy(own),
            rest=torch.from_numpy(allowed).logsumexp(1),
            targets=torch.full((len(rows),), -1),
        )

    def _inputs(self, histories: Histories, rows: Rows, blended: Floats) -> Floats:
        """Log shares, shares and places by source, the blend's logit and place, facts of the items. [B, N, F]."""
        heard = self._hear(histories).features  # [2 S, B, R] log shares, then shares
        sources, (batch, count) = len(heard) // 2, rows.shape
        made = np.empty((batch, count, 3 * sources + 2 + FACTS), np.float32)
        for place, own in enumerate(rows):
            of_one = made[place].T  # [F, N]
            logs, shares = of_one[:sources], of_one[sources : 2 * sources]
            picked = heard[:, place].take(own, axis=1)  # [2 S, N]
            np.multiply(picked[:sources], np.float32(1 / 5), out=logs)
            shares[:] = picked[sources:]
            of_one[2 * sources : 3 * sources] = reciprocal_places(picked[sources:])
            now = float(histories.now_seconds[place])
            made[place, :, -FACTS:] = self.facts.of(own, histories.items_of(place), now)  # [N, 7]
        made[:, :, 3 * sources] = np.maximum(blended - blended[:, :1], _FAR) / 5
        made[:, :, 3 * sources + 1] = 1 / np.arange(1, count + 1)
        return made

    def _networked(self, lists: CandidateLists) -> CandidateNetwork:
        if self.network is None:
            with seeded(self.setting.seed):
                self.network = CandidateNetwork(lists.inputs.shape[2], CONTEXTS, self.config.network)
            self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)
        return self.network

    def _step(self, *parts: CandidateLists) -> None:
        lists = stacked(list(parts))
        network = self._networked(lists).train()
        self.optimizer.zero_grad()
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=self._draw)))  # for the dropout
            loss = network.loss(lists)
        if bool(torch.isfinite(loss)):
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def _fit_weights(self, train: Interactions, validation: Interactions) -> None:
        """Fit the blend's weights, then the network, on the validation items."""
        super()._fit_weights(train, validation)
        self.facts.fit(train)
        draw = np.random.default_rng(self.setting.seed)
        asked = validation.take(draw.permutation(len(validation))[: self.config.fit_users])
        histories = histories_before(train, asked)
        usable = np.flatnonzero(self._may_be_shown(asked, histories))
        for _ in range(self.config.network_epochs):
            order = draw.permutation(usable)
            for start in range(0, len(order), self.config.fit_batch):
                part = order[start : start + self.config.fit_batch]
                rows, lists = self._lists(histories.take(part), None)
                self._step(_with_targets(lists, rows, asked.items[part]))
        self.facts.fit(joined(train, validation))


def reciprocal_places(shares: Floats) -> Floats:
    """1 / place of each candidate by its share, over the last axis; 0 where the share is 0. [..., N] -> [..., N].

    >>> reciprocal_places(np.array([[0.2, 0.0, 1.0]], np.float32)).tolist()
    [[0.5, 0.0, 1.0]]
    """
    best_first = np.argsort(-shares, axis=-1, kind="stable")
    reciprocals = np.empty(shares.shape, np.float32)
    by_place = (1 / np.arange(1, shares.shape[-1] + 1)).astype(np.float32)
    np.put_along_axis(reciprocals, best_first, by_place, axis=-1)
    reciprocals[shares <= 0] = 0
    return reciprocals


def _with_targets(lists: CandidateLists, rows: Rows, targets: Rows) -> CandidateLists:
    match = rows == targets[:, None]  # [B, N]
    places = np.where(match.any(1), match.argmax(1), -1)
    return CandidateLists(
        inputs=lists.inputs,
        contexts=lists.contexts,
        blended=lists.blended,
        rest=lists.rest,
        targets=torch.from_numpy(places),
    )


def _blend_sasrec(setting: Setting) -> Blend:
    """Blend everything that counts and SASRec."""
    return Blend([*counting_sources(setting), sasrec(setting)], setting)


def _blend_hstu(setting: Setting) -> Blend:
    """Blend everything that counts and HSTU."""
    return Blend([*counting_sources(setting), hstu(setting)], setting)


def _whole(setting: Setting) -> Whole:
    """Blend with SASRec, then score the best candidates once more by a network that hears all sources."""
    return Whole([*counting_sources(setting), sasrec(setting)], setting)


RECOMMENDERS: dict[str, Factory] = {"blend-sasrec": _blend_sasrec, "blend-hstu": _blend_hstu, "whole": _whole}
