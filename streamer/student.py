"""The student: everything that learns from examples and is served, without Kafka.

It holds the catalogue, the counting learners, the item features and the in-session ranker, takes examples in the order
of their positions, and hands out what has changed: rows at any moment, the dense part as graphs.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from exporters.deltas import Row
from exporters.gate import RecentExamples
from feature_store.item_state import ItemState
from feature_store.item_table import ItemTable
from feature_store.position_bias import PositionBias
from feature_store.user_state import ItemInfo
from feature_store.vectors import ITEM_NAMES, NAMES
from online_models.batch import Batch, Context
from online_models.catalog import Catalog
from online_models.counting import Cooccurrence, ItemKNN, Popularity, Transitions
from online_models.learner import TorchLearner, seeded
from online_models.neighbours import NeighbourTable
from online_models.optim import Clippy
from online_models.sources import CandidateSources
from online_models.zoo.in_session import CATEGORY_BUCKETS, InSessionRanker
from streamer.batches import BatchBuilder, BatchShape
from streamer.examples import Example, Position
from streamer.pending_rows import PendingRows
from streamer.prequential import Prequential
from streamer.replay_buffer import ReplayBuffer
from streamer.settings import Settings

VECTORS, FEATURES = "item_vectors", "item_features"
_MOST_RETRIEVED_FROM = 100_000  # rows that the model scores to find its own candidates while training

_REPORTED = {"popularity": "popular_7d", "item_knn": "item_knn", "cooccurrence": "cooccurrence"}
_TESTED_EVERY = 4  # micro-batches: scoring before learning costs a third of a step


class Student:
    """Learns from examples, test then learn, and says what to publish.

    Parameters
    ----------
    settings
        Sizes, seed, share of replay.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        sizes = settings.learning
        self.catalog = Catalog(rows=sizes.catalog_rows, admission_sightings=sizes.admission_sightings)
        self.counting = {
            learner.name: learner
            for learner in (
                ItemKNN(sizes.catalog_rows),
                Cooccurrence(sizes.catalog_rows),
                Transitions(sizes.catalog_rows),
                Popularity(sizes.catalog_rows),
            )
        }
        self.sources = CandidateSources(self.counting)
        self.items = ItemTable(capacity=sizes.catalog_rows)
        self.item_features = np.zeros((sizes.catalog_rows, len(ITEM_NAMES)), np.float32)  # [R, G]
        self.ranker, self.learner = _ranker(settings, len(self.sources.names))
        shape = BatchShape(history=settings.sessions.history_limit, candidates=sizes.candidates)
        self.builder = BatchBuilder(
            self.catalog, self.sources, self.item_features, shape, self._own_candidates, sizes.seed, self._title
        )
        self.replay = ReplayBuffer(share=sizes.replay_share, seed=sizes.seed)
        self.prequential = Prequential()
        self.pending = PendingRows()
        self.published = {
            name: NeighbourTable(sizes.catalog_rows if name != "popularity" else 1, sizes.neighbours)
            for name in self.counting
        }
        self.positions: dict[int, Position] = {}
        self.learned = 0
        self.duplicates = 0
        self._batches = 0
        self._moved: set[int] = set()  # vectors that moved although their item was not taken, as negatives do
        self._recent: RecentExamples | None = None

    def describe(self, item: ItemInfo) -> None:
        """Take over what the catalogue says of an item; items with a date of publication may be offered at once."""
        self.items.describe(item)
        row = self.catalog.row(item.item_id)
        if row > 1:
            self._set_categories(row, item)
            self._set_published(row, item.published_time_ms)

    def learn(self, examples: list[Example]) -> dict[str, float]:
        """Learn a micro-batch; examples at or before the last applied position of their partition are skipped.

        Returns
        -------
        dict
            What to plot: the loss, and how many examples were learned.
        """
        fresh = [example for example in examples if self._is_new(example)]
        if not fresh:
            return {"learned": 0.0}
        oldest_ms = min(example.published_time_ms for example in fresh)
        self.builder.admit(fresh)
        self._forget_freed()  # before the rows' new items learn anything
        batch = self.builder.build(fresh)
        if self._batches % _TESTED_EVERY == 0:
            self._test(batch)
        self._batches += 1
        plotted = self.learner.learn(batch)
        self._note_moved(batch)
        self._replay(batch)
        for learner in self.counting.values():
            learner.learn(batch)
        self._observe_items(fresh)
        self._note_changes(fresh, oldest_ms)
        self.learned += len(fresh)
        return {**plotted, "learned": float(len(fresh))}

    def take_rows(self, most: int = 4_000) -> list[Row]:
        """Rows changed since they were last taken, at most ``most`` of each table."""
        return [row for table in self.pending.tables() for row in self._rows_of(table, most)]

    def release_moved(self) -> None:
        """Let the vectors that moved as negatives be published too, with the dense part that they belong to.

        They reflect no event of their item, so no age is measured on them.
        """
        self.pending.add(VECTORS, sorted(self._moved), 0)
        self._moved.clear()

    def tables(self) -> dict[str, NDArray[Any]]:
        """Every table of a version, cut to the rows in use."""
        used = int(self.catalog.active_rows().max(initial=1)) + 1
        tables: dict[str, NDArray[Any]] = {
            VECTORS: self.ranker.items.weight.detach().numpy()[:used].copy(),
            FEATURES: self.item_features[:used].copy(),
        }
        for name, table in self.published.items():
            tables[f"{name}.items"], tables[f"{name}.weights"] = table.items[:used].copy(), table.weights[:used].copy()
        return tables

    def item_ids(self) -> list[str | None]:
        """Item of every row in use."""
        used = int(self.catalog.active_rows().max(initial=1)) + 1
        return [self.catalog.id_of(row) for row in range(used)]

    def meta(self) -> dict[str, Any]:
        """Say what a server must know to use a version."""
        return {
            "sources": list(self.sources.names),
            "features": list(NAMES),
            "item_features": list(ITEM_NAMES),
            "dimension": self.settings.learning.dimension,
            "history": self.settings.sessions.history_limit,
            "neighbours": self.settings.learning.neighbours,
        }

    def recent(self) -> RecentExamples | None:
        """Return the latest micro-batch as it was before it was learnt: what the gate judges a model by."""
        return self._recent

    def _title(self, item_id: str) -> str:
        state = self.items.get(item_id)
        return state.title if state is not None else ""

    def _own_candidates(self, context: Context) -> NDArray[np.int64]:
        rows = np.sort(self.catalog.active_rows())
        most = self.builder.shape.from_model
        if not most <= len(rows) <= _MOST_RETRIEVED_FROM:
            return np.zeros((len(context.surface), 0), np.int64)
        users = self.ranker.user_vectors(context)  # [B, D]
        scores = users @ self.ranker.items.weight.detach()[torch.from_numpy(rows)].T  # [B, I]
        found: NDArray[np.int64] = rows[scores.topk(most, dim=1).indices.numpy()]  # [B, K]
        return found

    def _is_new(self, example: Example) -> bool:
        partition = example.source.partition
        last = self.positions.get(partition)
        if last is not None and example.source <= last:
            self.duplicates += 1
            return False
        self.positions[partition] = example.source
        return True

    def _test(self, batch: Batch) -> None:
        scores = {"served": self.learner.score(batch.context, batch.candidates)}
        for column, name in enumerate(self.sources.names):
            if name in _REPORTED:
                scores[_REPORTED[name]] = batch.candidates.source_scores[..., column]
        self.prequential.observe(batch, scores)
        with torch.no_grad():
            inputs = self.ranker.inputs(batch.context, batch.candidates)
        served = batch.offered
        self._recent = RecentExamples(
            feeds={name: value.numpy() for name, value in inputs.items()},
            labels=batch.labels.numpy(),
            mask=served.numpy(),
        )

    def _replay(self, batch: Batch) -> None:
        old = self.replay.exchange(batch)
        if old is not None:
            self.learner.learn(old)
            self._note_moved(old)

    def _observe_items(self, examples: list[Example]) -> None:
        for example in examples:
            if example.item_id is not None:
                self.items.observe_interaction(example.item_id, example.action, example.event_time_ms)
            if example.slate and example.outcomes:
                self.items.observe_slate(example.slate, example.outcomes, example.event_time_ms)

    def _note_moved(self, batch: Batch) -> None:
        context = batch.context
        parts = [batch.candidates.items.flatten(), context.history_items.flatten(), context.source_item]
        rows = torch.unique(torch.cat(parts))
        self._moved.update(rows[rows > 1].tolist())

    def _note_changes(self, examples: list[Example], oldest_ms: int) -> None:
        touched = {item_id for e in examples for item_id in (e.item_id, *(e.slate or ())) if item_id is not None}
        rows = {row: item_id for item_id in sorted(touched) if (row := self.catalog.row(item_id)) > 1}
        if rows:
            now_ms = max(example.event_time_ms for example in examples)
            self.item_features[list(rows)] = self.items.vectors(list(rows.values()), now_ms)
            self.pending.add(FEATURES, rows, oldest_ms)
            self.pending.add(VECTORS, rows, oldest_ms)
        self._label_new(rows)
        for name, learner in self.counting.items():
            self.pending.add(name, learner.touched(), oldest_ms)

    def _label_new(self, rows: Mapping[int, str]) -> None:
        """Give the intent heads what is known of items that have just been admitted."""
        for row, item_id in rows.items():
            state = self.items.get(item_id)
            if state is not None:
                self._set_published(row, state.published_time_ms or state.first_seen_ms or None)
            if state is not None and state.categories and not bool(self.ranker.item_categories[row].any()):
                self.ranker.set_categories(row, category_buckets(state.categories))

    def _set_published(self, row: int, time_ms: int | None) -> None:
        if time_ms is not None:
            self.ranker.set_published(row, time_ms / 1e3)

    def _set_categories(self, row: int, item: ItemInfo) -> None:
        if item.categories:
            self.ranker.set_categories(row, category_buckets(item.categories))

    def _forget_freed(self) -> None:
        freed = self.catalog.take_freed()
        if not freed:
            return
        rows = np.array([row for row, _ in freed], np.int64)
        self.learner.forget(torch.from_numpy(rows))
        self.item_features[rows] = 0
        self.replay.forget(rows)
        for learner in self.counting.values():
            learner.forget(rows)
        for name, table in self.published.items():
            if name != "popularity":
                table.items[rows], table.weights[rows] = 0, 0
            gone = np.isin(table.items, rows)
            table.items[gone], table.weights[gone] = 0, 0

    def _rows_of(self, table: str, most: int) -> list[Row]:
        taken = self.pending.take(table, most)
        rows = [self._row(table, row, since_ms) for row, since_ms in taken.items()]
        return [row for row in rows if row is not None]

    def _row(self, table: str, row: int, oldest_ms: int) -> Row | None:
        item_id = "*" if table == "popularity" else self.catalog.id_of(row)
        if item_id is None:
            return None
        if table in (VECTORS, FEATURES):
            values = self.ranker.items.weight.detach()[row].numpy() if table == VECTORS else self.item_features[row]
            content = {"values": values.astype("<f4").tobytes()}
        else:
            items, weights = self.counting[table].best(row, self.settings.learning.neighbours)
            self.published[table].put(row, items, weights)
            content = {"neighbours": items.astype("<i4").tobytes(), "weights": weights.astype("<f4").tobytes()}
        return Row(table=table, item_id=item_id, row=row, step=self.learned, oldest_ms=oldest_ms, **content)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact resume needs, source positions included."""
        return {
            "positions": {str(number): [p.partition, p.offset, p.index] for number, p in self.positions.items()},
            "learned": self.learned,
            "duplicates": self.duplicates,
            "catalog": self.catalog.state_dict(),
            "learner": self.learner.state_dict(),
            "counting": {name: learner.state_dict() for name, learner in self.counting.items()},
            "builder": self.builder.state_dict(),
            "replay": self.replay.state_dict(),
            "item_features": self.item_features,
            "items": np.frombuffer(msgspec.msgpack.encode((self.items.states(), self.items.bias)), np.uint8),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; every row in use counts as changed, so that servers catch up."""
        self.positions = {int(number): Position(*parts) for number, parts in state["positions"].items()}
        self.learned, self.duplicates = state["learned"], state["duplicates"]
        self.catalog.load_state_dict(state["catalog"])
        self.learner.load_state_dict(state["learner"])
        for name, learner in self.counting.items():
            learner.load_state_dict(state["counting"][name])
        self.builder.load_state_dict(state["builder"])
        self.replay.load_state_dict(state["replay"])
        self.item_features[:] = np.asarray(state["item_features"])
        packed = np.asarray(state["items"]).tobytes()
        states, bias = msgspec.msgpack.decode(packed, type=tuple[list[ItemState], PositionBias])
        self.items.restore(states, bias)
        self._publish_everything()

    def _publish_everything(self) -> None:
        rows, now_ms = self.catalog.active_rows().tolist(), time.time_ns() // 1_000_000
        for name in (VECTORS, FEATURES):
            self.pending.add(name, rows, now_ms)
        for name, learner in self.counting.items():
            own = [0] if name == "popularity" else rows
            self.pending.add(name, own, now_ms)
            for row in own:  # a version may be published before these rows are taken
                self.published[name].put(row, *learner.best(row, self.settings.learning.neighbours))


def _ranker(settings: Settings, sources: int) -> tuple[InSessionRanker, TorchLearner]:
    sizes = settings.learning
    config = InSessionRanker.Config(
        catalog_rows=sizes.catalog_rows,
        features=len(NAMES),
        sources=sources,
        item_features=len(ITEM_NAMES),
        dimension=sizes.dimension,
        history=settings.sessions.history_limit,
    )
    with seeded(sizes.seed):
        ranker = InSessionRanker(config)
    optimizer = Clippy(ranker.optimizer()) if sizes.clippy else ranker.optimizer()
    learner = TorchLearner(ranker, lambda _: optimizer, clip_norm=5.0, seed=sizes.seed)
    return ranker, learner


def category_buckets(categories: list[str]) -> list[int]:
    """Hash categories into the buckets of the category intent.

    >>> category_buckets(["Drama"]) == category_buckets(["Drama"]), len(category_buckets(["a", "b"])) <= 2
    (True, True)
    """
    return sorted({zlib.crc32(category.encode()) % CATEGORY_BUCKETS for category in categories})
