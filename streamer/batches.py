"""Examples become batches: rows for ids, candidates with their sources' scores, labels, right-aligned histories."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.batch import PADDING, Batch, Candidates, Context
from online_models.catalog import Catalog
from online_models.imputation import impute_words
from online_models.sources import CandidateSources
from online_models.vocabulary import QUERY_LENGTH, action_row, query_tokens, surface_row
from streamer.candidate_lists import Asked, Lists, make_lists
from streamer.examples import Example
from streamer.joins import NEGATIVE_ACTIONS
from streamer.seen_items import SeenItems

Rows = NDArray[np.int64]
Retrieve = Callable[[Context], Rows]  # contexts -> rows [B, K]
USER_BUCKETS = 1 << 20


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
        context = self.context(examples)
        found = self.retrieve(context) if self.retrieve else np.zeros((len(examples), 0), np.int64)
        found = np.where(np.isin(found, self._new), 0, found)  # no server could have retrieved what has just come
        targets = np.array([self._target(example) for example in examples])  # [B]
        slates, taken_before = self._slates(examples, targets)
        asked = Asked(
            histories=context.history_items.numpy(),
            targets=targets,
            seen=[self.seen.of(example.user_id) for example in examples],
            slates=slates,
            taken_before=taken_before,
            extra=found,
            negatives=self._negatives(),
        )
        lists = make_lists(self.sources.tables, asked, self.shape.candidates, self.catalog.used)
        self._new = np.zeros(0, np.int64)
        self._note_taken(examples)
        return self._assemble(examples, context, targets, lists)

    def context(self, examples: list[Example]) -> Context:
        """Contexts alone."""
        items, actions, ages = self._histories(examples)
        sources = [0 if e.source_item_id is None else self.catalog.row(e.source_item_id) for e in examples]
        return Context(
            history_items=torch.from_numpy(items),
            history_actions=torch.from_numpy(actions),
            history_ages_seconds=torch.from_numpy(ages),
            features=torch.from_numpy(np.array([e.features for e in examples], np.float32)),
            surface=torch.tensor([surface_row(e.surface) for e in examples]),
            source_item=torch.tensor(sources),
            query=torch.from_numpy(self._queries(examples)),
            time_seconds=torch.tensor([e.event_time_ms / 1e3 for e in examples], dtype=torch.float64),
            user=torch.tensor([user_row(e.user_id) for e in examples]),
        )

    def _histories(self, examples: list[Example]) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Items, actions and ages of the histories, right-aligned. [B, L] each."""
        shape = len(examples), self.shape.history
        lengths = np.array([min(len(e.history.item_ids), shape[1]) for e in examples])
        filled = np.arange(shape[1]) >= shape[1] - lengths[:, None]  # [B, L]
        items, actions, ages = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        newest = [(e.history, -int(kept)) for e, kept in zip(examples, lengths, strict=True) if kept]
        items[filled] = self.catalog.rows(chain.from_iterable(h.item_ids[start:] for h, start in newest))
        names = chain.from_iterable(h.actions[start:] for h, start in newest)
        actions[filled] = [action_row(action) for action in names]
        times = [time_ms for h, start in newest for time_ms in h.event_times_ms[start:]]
        now_ms = np.repeat([e.event_time_ms for e in examples], lengths)
        ages[filled] = np.maximum(now_ms - np.array(times, np.int64), 0) / 1e3
        return items, actions, ages

    def _queries(self, examples: list[Example]) -> Rows:
        """Words of every request, its own or those of its source item. [B, Q]."""
        tokens = np.zeros((len(examples), QUERY_LENGTH), np.int64)
        for place, example in enumerate(examples):
            words = impute_words(example.query, example.source_item_id, self.title_of)
            if words:
                tokens[place] = query_tokens(words, QUERY_LENGTH)
        return tokens

    def _target(self, example: Example) -> int:
        item_id = _met(example)
        return 0 if item_id is None or example.action in NEGATIVE_ACTIONS else self.catalog.row(item_id)

    def _negatives(self) -> Rows:
        active = self.catalog.active_rows()
        if len(active) == 0:
            return np.zeros(0, np.int64)
        return np.unique(active[self.generator.integers(0, len(active), self.shape.negatives)])

    def _slates(self, examples: list[Example], targets: Rows) -> tuple[list[Rows], list[Rows]]:
        """Rows of the slates that nobody had taken by then, the targets among them; and those taken before it."""
        nothing = np.zeros(0, np.int64)
        slates, taken_before = [nothing] * len(examples), [nothing] * len(examples)
        for place, (example, target) in enumerate(zip(examples, targets, strict=True)):
            if example.slate:
                rows = self.catalog.rows(example.slate)
                taken = np.array(example.outcomes or [0] * len(rows), bool) & (rows != target)
                slates[place], taken_before[place] = rows[~taken & (rows > 1)], rows[taken]
        return slates, taken_before

    def _note_taken(self, examples: list[Example]) -> None:
        for example in examples:
            row = self.catalog.row(_met(example) or "")
            if row > 1:
                self.seen.add(example.user_id, row)

    def _assemble(self, examples: list[Example], context: Context, targets: Rows, lists: Lists) -> Batch:
        drawn = max(self.shape.negatives, 1)
        chance = np.log(drawn / max(len(self.catalog), drawn))
        items = lists.rows  # [B, N]
        labels = (items == targets[:, None]) & (items != PADDING)
        return Batch(
            context=context,
            candidates=Candidates(
                items=torch.from_numpy(items),
                source_scores=torch.from_numpy(lists.scores),  # [B, N, S]
                features=torch.from_numpy(self.item_features[items]),  # [B, N, G]
            ),
            labels=torch.from_numpy(labels.astype(np.float32)),
            log_q=torch.from_numpy(np.where(lists.drawn, np.float32(chance), np.float32(0))),
            retrieved=torch.from_numpy(lists.offered),
            weights=torch.ones(len(examples)),
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


def _met(example: Example) -> str | None:
    """Item of an interaction; None for a slate that nobody answered."""
    return example.item_id if example.kind == "interaction" else None


def user_row(user_id: str) -> int:
    """Hash a user id into a row of a user table, ``1 .. USER_BUCKETS - 1``."""
    return 1 + zlib.crc32(user_id.encode()) % (USER_BUCKETS - 1)
