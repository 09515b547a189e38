"""Examples become batches: rows for ids, candidates with their sources' scores, labels, right-aligned histories."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.batch import Batch, Candidates, Context
from online_models.catalog import Catalog
from online_models.imputation import impute_words
from online_models.sources import CandidateSources
from online_models.vocabulary import QUERY_LENGTH, action_row, query_tokens, surface_row
from streamer.examples import Example
from streamer.joins import NEGATIVE_ACTIONS

Rows = NDArray[np.int64]
Retrieve = Callable[[Context], Rows]  # contexts -> rows [B, K]
USER_BUCKETS = 1 << 20


class SeenItems:
    """Catalogue rows that each user has taken, bounded in users and in items a user.

    Serving does not offer what was seen; training must not count such an item as a rejected candidate.

    >>> seen = SeenItems(users=2, items=2)
    >>> for row in (5, 6, 7): seen.add("u", row)
    >>> seen.of("u").tolist(), seen.of("v").tolist()
    ([6, 7], [])
    """

    def __init__(self, users: int = 100_000, items: int = 1_000) -> None:
        self.users, self.items = users, items
        self._rows: OrderedDict[str, list[int]] = OrderedDict()

    def add(self, user_id: str, row: int) -> None:
        """Note that a user took an item; the longest unheard-of user makes room."""
        rows = self._rows.setdefault(user_id, [])
        self._rows.move_to_end(user_id)
        if row not in rows[-50:]:
            rows.append(row)
            del rows[: -self.items]
        if len(self._rows) > self.users:
            self._rows.popitem(last=False)

    def of(self, user_id: str) -> Rows:
        """Rows that a user has taken."""
        return np.array(self._rows.get(user_id, ()), np.int64)

    def state_dict(self) -> dict[str, Any]:
        """Users in the order of their last event, with flat rows."""
        rows = list(self._rows.values())
        return {
            "user_ids": list(self._rows),
            "lengths": np.array([len(r) for r in rows], np.int64),
            "rows": np.array([row for r in rows for row in r], np.int64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        parts = np.split(np.array(state["rows"]), np.cumsum(state["lengths"])[:-1]) if state["user_ids"] else []
        pairs = zip(state["user_ids"], parts, strict=True)
        self._rows = OrderedDict((user_id, part.tolist()) for user_id, part in pairs)


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """How large a batch may get: history length L, candidates from the sources, uniform negatives a batch."""

    history: int = 30
    candidates: int = 120
    negatives: int = 32
    from_model: int = 20


class BatchBuilder:
    """Builds a batch from examples; what is random comes from its own generator.

    Parameters
    ----------
    catalog
        Gives ids their rows.
    sources
        Candidate sources over the trainer's own counts.
    item_features
        [R, G] the trainer's table of item features (grown in place by the trainer).
    shape
        Sizes.
    retrieve
        Optional: contexts -> rows [B, K] that the model itself would retrieve, so that it meets its own mistakes.
    seed
        Of the negatives.
    title_of
        Title of an item: what is asked for where a source item stands without a query.
    """

    def __init__(
        self,
        catalog: Catalog,
        sources: CandidateSources,
        item_features: NDArray[np.float32],
        shape: BatchShape,
        retrieve: Retrieve | None = None,
        seed: int = 0,
        title_of: Callable[[str], str] = lambda item_id: "",
    ) -> None:
        self.catalog, self.sources, self.item_features = catalog, sources, item_features
        self.shape, self.retrieve = shape, retrieve
        self.seen = SeenItems()
        self.title_of = title_of
        self.generator = np.random.default_rng(seed)
        self._new = np.zeros(0, np.int64)  # rows given since the last batch

    def admit(self, examples: list[Example]) -> None:
        """Give the items that were taken a row; what the catalogue frees by it is forgotten before :meth:`build`."""
        met = [example for example in examples if _met(example) is not None]
        new = dict.fromkeys(item_id for item_id in map(_met, met) if item_id and item_id not in self.catalog)
        for example in met:
            self.catalog.admit(_met(example) or "", example.event_time_ms / 1e3)
        self._new = self.catalog.rows(list(new))

    def build(self, examples: list[Example]) -> Batch:
        """Turn examples into one batch; an item that has no row is the unknown one."""
        targets = [self._target(example) for example in examples]
        context = self.context(examples)
        found = self.retrieve(context) if self.retrieve else np.zeros((len(examples), 0), np.int64)
        found = np.where(np.isin(found, self._new), 0, found)  # no server could have retrieved what has just come
        negatives = self._negatives()
        histories = context.history_items.numpy()
        parts = [
            self._part(e, h, t, extra, negatives)
            for e, h, t, extra in zip(examples, histories, targets, found, strict=True)
        ]
        self._new = np.zeros(0, np.int64)
        for example in examples:
            row = self.catalog.row(_met(example) or "")
            if row > 1:
                self.seen.add(example.user_id, row)
        return self._assemble(examples, context, parts)

    def context(self, examples: list[Example]) -> Context:
        """Contexts alone."""
        length = self.shape.history
        items = np.zeros((len(examples), length), np.int64)  # [B, L]
        actions = np.zeros_like(items)
        ages = np.zeros((len(examples), length), np.float32)  # [B, L]
        for place, example in enumerate(examples):
            history = example.history
            kept = min(len(history.item_ids), length)
            if kept == 0:
                continue
            items[place, -kept:] = self.catalog.rows(history.item_ids[-kept:])
            actions[place, -kept:] = [action_row(action) for action in history.actions[-kept:]]
            times = np.array(history.event_times_ms[-kept:], np.int64)
            ages[place, -kept:] = np.maximum(example.event_time_ms - times, 0) / 1e3
        sources = [0 if e.source_item_id is None else self.catalog.row(e.source_item_id) for e in examples]
        return Context(
            history_items=torch.from_numpy(items),
            history_actions=torch.from_numpy(actions),
            history_ages_seconds=torch.from_numpy(ages),
            features=torch.tensor([e.features for e in examples], dtype=torch.float32),
            surface=torch.tensor([surface_row(e.surface) for e in examples]),
            source_item=torch.tensor(sources),
            query=torch.from_numpy(np.stack([self._words(example) for example in examples])),
            time_seconds=torch.tensor([e.event_time_ms / 1e3 for e in examples], dtype=torch.float64),
            user=torch.tensor([user_row(e.user_id) for e in examples]),
        )

    def _words(self, example: Example) -> Rows:
        words = impute_words(example.query, example.source_item_id, self.title_of)
        return query_tokens(words, QUERY_LENGTH)

    def _target(self, example: Example) -> int:
        item_id = _met(example)
        return 0 if item_id is None or example.action in NEGATIVE_ACTIONS else self.catalog.row(item_id)

    def _negatives(self) -> Rows:
        active = self.catalog.active_rows()
        if len(active) == 0:
            return np.zeros(0, np.int64)
        return np.unique(active[self.generator.integers(0, len(active), self.shape.negatives)])

    def _part(self, example: Example, history: Rows, target: int, extra: Rows, negatives: Rows) -> _Part:
        """Take what serving would have retrieved, then the target, the rest of a logged slate, and uniform negatives.

        Only the first part counts as offered, whoever made the slate: what was clicked among the items that another
        policy chose does not tell which items to choose. All scores come from one reading, also where a slate has
        logged ones: a score says something only beside those of the whole list.
        """
        # The history is fresher than what earlier batches left: a user's last few items may sit in this very batch.
        seen = np.concatenate([self.seen.of(example.user_id), history])
        read = self.sources.read(history)
        rows = read.best(self.shape.candidates, seen, extra)
        slate, taken_before = self._slate(example, target)
        there = np.zeros(self.catalog.capacity, bool)
        there[:2], there[rows] = True, True
        added = _distinct(np.concatenate([[target], slate]))
        added = added[~there[added]]
        there[seen], there[added], there[taken_before] = True, True, True
        drawn = negatives[~there[negatives]]
        chance = np.log(self.shape.negatives / max(len(self.catalog), self.shape.negatives))
        log_q = np.concatenate([np.zeros(len(rows) + len(added)), np.full(len(drawn), chance)]).astype(np.float32)
        offered, rows = len(rows), np.concatenate([rows, added, drawn])
        return _Part(rows, read.of(rows), (rows == target).astype(np.float32), log_q, offered)

    def _slate(self, example: Example, target: int) -> tuple[Rows, Rows]:
        """Rows of the slate that nobody had taken by then, the target among them; and those taken before it."""
        rows = self.catalog.rows(example.slate or [])
        taken = np.array(example.outcomes or [0] * len(rows), bool) & (rows != target)
        return rows[~taken & (rows > 1)], rows[taken]

    def _assemble(self, examples: list[Example], context: Context, parts: list[_Part]) -> Batch:
        size, number = len(parts), max(max(len(part.rows) for part in parts), 1)
        items = np.zeros((size, number), np.int64)  # [B, N]
        scores = np.zeros((size, number, len(self.sources.names)), np.float32)  # [B, N, S]
        labels, log_q = np.zeros((size, number), np.float32), np.zeros((size, number), np.float32)
        retrieved = np.zeros((size, number), bool)
        for place, part in enumerate(parts):
            kept = len(part.rows)
            items[place, :kept], scores[place, :kept] = part.rows, part.scores
            labels[place, :kept], log_q[place, :kept] = part.labels, part.log_q
            retrieved[place, : part.offered] = True
        return Batch(
            context=context,
            candidates=Candidates(
                items=torch.from_numpy(items),
                source_scores=torch.from_numpy(scores),
                features=torch.from_numpy(self.item_features[items]),  # [B, N, G]
            ),
            labels=torch.from_numpy(labels),
            log_q=torch.from_numpy(log_q),
            retrieved=torch.from_numpy(retrieved),
            weights=torch.ones(size),
            actions=torch.tensor([action_row(e.action) for e in examples]),
        )

    def state_dict(self) -> dict[str, Any]:
        """Seen items and the state of the generator (as text: its integers are longer than 64 bits)."""
        state = self.generator.bit_generator.state
        words = {name: str(value) for name, value in state["state"].items()}
        rest = {name: state[name] for name in ("bit_generator", "has_uint32", "uinteger")}
        return {"seen": self.seen.state_dict(), "generator": {"state": words, **rest}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.seen.load_state_dict(state["seen"])
        saved = state["generator"]
        words = {name: int(value) for name, value in saved["state"].items()}
        self.generator.bit_generator.state = {**saved, "state": words}


@dataclass(frozen=True)
class _Part:
    rows: Rows  # [N]
    scores: NDArray[np.float32]  # [N, S]
    labels: NDArray[np.float32]  # [N]
    log_q: NDArray[np.float32]  # [N]
    offered: int  # the first so many are what serving would have offered


def _met(example: Example) -> str | None:
    """Item of an interaction; None for a slate that nobody answered."""
    return example.item_id if example.kind == "interaction" else None


def _distinct(rows: Rows) -> Rows:
    """Rows, each once, in their order."""
    return rows[np.sort(np.unique(rows, return_index=True)[1])]


def user_row(user_id: str) -> int:
    """Hash a user id into a row of a user table, ``1 .. USER_BUCKETS - 1``."""
    return 1 + zlib.crc32(user_id.encode()) % (USER_BUCKETS - 1)
