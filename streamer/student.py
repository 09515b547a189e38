"""The student: everything that learns from examples and is served, without Kafka.

It holds a memory (catalogue, counts, items) and a network, takes examples in the order of their positions, and hands
out what has changed: rows at any moment, the dense part as graphs.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.deltas import CATALOG, FEATURES, VECTORS, Row
from exporters.gate import RecentExamples
from exporters.table_digest import buckets_of
from feature_store.user_state import ItemInfo
from feature_store.vectors import ITEM_NAMES, NAMES
from online_models.batch import Batch, Context
from online_models.neighbours import NeighbourTable
from streamer.drift.monitor import Monitor
from streamer.examples import Example
from streamer.hard_twin import HARD_ONLY, HardTwin
from streamer.memory import Memory
from streamer.network import Network, rows_of
from streamer.outgoing_rows import OutgoingRows
from streamer.pending_rows import PendingRows
from streamer.prequential import SERVED, Prequential
from streamer.recent_examples import RecentWindow
from streamer.replay_buffer import ReplayBuffer
from streamer.settings import Settings
from streamer.soft_losses import OFF
from streamer.soft_student import SoftStudent
from streamer.vector_guard import VectorGuard

_TESTED_BEHIND = 4  # tests are so much rarer while the learner is behind
_REPORTED = {"popularity": "popular_7d", "item_knn": "item_knn", "cooccurrence": "cooccurrence"}


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
        self.memory = Memory(settings, self._own_candidates)
        self.network = Network(settings, len(self.memory.sources.names))
        self.twin = HardTwin(settings, len(self.memory.sources.names)) if sizes.hard_twin else None
        self.soft = SoftStudent(settings, self.network, self.memory.catalog) if sizes.distillation != OFF else None
        self.replay = ReplayBuffer(share=sizes.replay_share, seed=sizes.seed)
        self.drift = self._monitor() if settings.drift.mode != "off" else None
        self.prequential = Prequential()
        self.tested_every = 4  # micro-batches: scoring before learning costs a third of a step
        if self.drift is not None:
            self.tested_every = min(self.tested_every, settings.drift.test_every)
        self.pending = PendingRows()
        self.published = {
            name: NeighbourTable(sizes.catalog_rows if name != "popularity" else 1, sizes.neighbours)
            for name in self.memory.counting
        }
        self.outgoing = OutgoingRows(sizes.name, sizes.catalog_rows, self.published)
        self.guard = VectorGuard()
        self.learned = 0
        self._batches = 0
        self._moved: set[int] = set()  # vectors that moved although their item was not taken, as negatives do
        self._taken_back: list[int] = []  # vectors to be published as they were when the gate last passed
        self._recent = RecentWindow()

    def describe(self, item: ItemInfo) -> None:
        """Take over what the catalogue says of an item; items with a date of publication may be offered at once."""
        self.memory.items.describe(item)
        row = self.memory.catalog.row(item.item_id)
        if row > 1:
            for network in self._networks():
                network.describe(row, item)

    def learn(self, examples: list[Example], *, behind: bool = False) -> dict[str, float]:
        """Learn a micro-batch; examples at or before the last applied position of their partition are skipped.

        Parameters
        ----------
        examples
            In the order of their positions.
        behind
            Whether more examples come than are learnt: then nothing is replayed and tests are rarer.

        Returns
        -------
        dict
            What to plot: the loss, how many examples were learned, and, while behind, what was left out.
        """
        fresh = self.memory.fresh(examples)
        if not fresh:
            return {"learned": 0.0}
        oldest_ms = min(example.published_time_ms for example in fresh)
        self._forget(self.memory.admit(fresh))  # before the rows' new items learn anything
        batch = self.memory.build(fresh)
        due = self._batches % self.tested_every == 0 or (self.drift is not None and self.drift.suspicious)
        tested = due and (not behind or self._batches % (_TESTED_BEHIND * self.tested_every) == 0)
        if tested:
            self._test(batch, fresh)
        self._batches += 1
        plotted = self._learn_hard(batch)
        replayed = self._replay(batch, behind)
        if self.soft is not None:
            self.soft.wait(batch, fresh)
        rows = self.memory.observe(batch, fresh)
        for network in self._networks():
            network.describe_new(rows, self.memory.items)
        self._note_changes(rows, oldest_ms)
        self.learned += len(fresh)
        if self.drift is not None:
            self.drift.observe(fresh)
        left_out = {"shed_test": float(due and not tested), "shed_replay": float(not replayed)} if behind else {}
        return {**plotted, **left_out, "learned": float(len(fresh))}

    def distill(self, most: int = 2) -> dict[str, float]:
        """Learn once more, with their soft labels, up to ``most`` batches whose labels have come or whose time is over.

        Returns
        -------
        dict
            What to plot; empty where no batch was learnt.
        """
        plotted: dict[str, float] = {}
        for batch in self.soft.take(most) if self.soft is not None else ():
            assert self.soft is not None
            plotted = self.soft.distiller.step(batch)
            self._moved.update(rows_of(batch).tolist())
        return plotted

    def take_rows(self, most: int = 4_000) -> list[Row]:
        """Rows changed since they were last taken, at most ``most`` of each table, in batches.

        While the gate refuses the dense part, the vectors that belong to it stay here.
        """
        rows = [row for number in self._taken_back if (row := self._earlier_vector(number)) is not None]
        self._taken_back = []
        for table in self.pending.tables():
            if table == VECTORS and self.guard.holding:
                continue
            taken = self._rows_of(table, most)
            if table == VECTORS:
                self.guard.sent(row.row for row in taken)
            rows += taken
        return self.outgoing.seal(rows, self.learned)

    def refuse_vectors(self) -> None:
        """Take back the vectors that went out since the gate last passed, and hold those that follow."""
        self._taken_back = self.guard.refused()
        self.pending.add(VECTORS, self._taken_back, 0)

    def take_check(self, table: str) -> Row | None:
        """Give out the digest of a table; None while rows of it are still to be published."""
        waits = table in self.pending.tables() or (table == CATALOG and bool(self.pending.tables()))
        return None if waits else self.outgoing.digest(table, self.learned)

    def publish_again(self, table: str, buckets: list[int]) -> None:
        """Publish the rows of some buckets once more, as servers have asked; of the catalogue, everything."""
        if table == CATALOG:
            self._publish_everything()
            self.outgoing.purge_at(self.learned)
            return
        rows = np.zeros(1, np.int64) if table == "popularity" else self.memory.catalog.active_rows()
        asked = rows[np.isin(buckets_of(rows), buckets)]
        self.pending.add(table, asked.tolist(), 0)

    def release_moved(self) -> None:
        """Let the vectors that moved as negatives be published too, with the dense part that they belong to.

        They reflect no event of their item, so no age is measured on them.
        """
        self.pending.add(VECTORS, sorted(self._moved), 0)
        self._moved.clear()

    def tables(self) -> dict[str, NDArray[Any]]:
        """Every table of a version, cut to the rows in use."""
        used = int(self.memory.catalog.active_rows().max(initial=1)) + 1
        tables: dict[str, NDArray[Any]] = {
            VECTORS: self.network.ranker.items.weight.detach().numpy()[:used].copy(),
            FEATURES: self.memory.item_features[:used].copy(),
        }
        for name, table in self.published.items():
            tables[f"{name}.items"], tables[f"{name}.weights"] = table.items[:used].copy(), table.weights[:used].copy()
        return tables

    def item_ids(self) -> list[str | None]:
        """Item of every row in use."""
        used = int(self.memory.catalog.active_rows().max(initial=1)) + 1
        return [self.memory.catalog.id_of(row) for row in range(used)]

    def meta(self) -> dict[str, Any]:
        """Say what a server must know to use a version."""
        return {
            "family": self.settings.learning.family,
            "sources": list(self.memory.sources.names),
            "features": list(NAMES),
            "item_features": list(ITEM_NAMES),
            "dimension": self.settings.learning.dimension,
            "history": self.settings.sessions.history_limit,
            "neighbours": self.settings.learning.neighbours,
        }

    def recent(self) -> RecentExamples | None:
        """Return the latest examples as they were before they were learnt: what the gate judges a model by."""
        return self._recent.read(self.network.ranker.items.weight.detach().numpy())

    def _own_candidates(self, context: Context) -> NDArray[np.int64]:
        return self.network.candidates(context, self.memory.catalog.active_rows(), self.memory.builder.shape.from_model)

    def _monitor(self) -> Monitor:
        def categories_of(item_id: str) -> list[str]:
            state = self.memory.items.get(item_id)
            return state.categories if state is not None else []

        return Monitor(self.settings, self.network, self.replay, categories_of)

    def _test(self, batch: Batch, examples: list[Example]) -> None:
        scores = {SERVED: self.network.score(batch)}
        if self.twin is not None:
            scores[HARD_ONLY] = self.twin.score(batch)
        for column, name in enumerate(self.memory.sources.names):
            if name in _REPORTED:
                scores[_REPORTED[name]] = batch.candidates.source_scores[..., column]
        self.prequential.observe(batch, scores)
        if self.drift is not None:
            users = self.network.user_vectors(batch.context)
            self.drift.test(batch, examples, scores[SERVED], scores[_REPORTED["popularity"]], users)
        self._recent.add(batch, self.network.ranker.plain_inputs(batch.context, batch.candidates))

    def _replay(self, batch: Batch, behind: bool) -> bool:
        """Keep a batch, and learn an old one where one is drawn; whether nothing was left out."""
        old = self.replay.exchange(batch)
        if old is not None and not behind:
            self._learn_hard(old)
        return old is None or not behind

    def _learn_hard(self, batch: Batch) -> dict[str, float]:
        self._moved.update(rows_of(batch).tolist())
        plotted = self.network.learner.learn(batch)
        if self.twin is not None:
            self.twin.learner.learn(batch)
        return plotted

    def _networks(self) -> list[Network]:
        return [self.network] if self.twin is None else [self.network, self.twin]

    def _note_changes(self, rows: dict[int, str], oldest_ms: int) -> None:
        if rows:
            self.pending.add(FEATURES, rows, oldest_ms)
            self.pending.add(VECTORS, rows, oldest_ms)
        for name, learner in self.memory.counting.items():
            self.pending.add(name, learner.touched(), oldest_ms)

    def _forget(self, rows: NDArray[np.int64]) -> None:
        """Take what left with rows [K] out of everything that the memory does not hold."""
        if not len(rows):
            return
        for network in self._networks():
            network.forget(rows)
        self.replay.forget(rows)
        self.outgoing.shown.forget(rows.tolist())
        if self.drift is not None:
            self.drift.forget(rows)
        if self.soft is not None:
            self.soft.forget(rows)
        for name, table in self.published.items():
            if name != "popularity":
                table.items[rows], table.weights[rows] = 0, 0
            gone = np.isin(table.items, rows)
            table.items[gone], table.weights[gone] = 0, 0

    def _rows_of(self, table: str, most: int) -> list[Row]:
        taken = self.pending.take(table, most)
        if table in (VECTORS, FEATURES):
            rows = [self._values_row(table, row, since_ms) for row, since_ms in taken.items()]
            return [row for row in rows if row is not None]
        learner, most_neighbours = self.memory.counting[table], self.settings.learning.neighbours
        best = [learner.best(row, most_neighbours) for row in taken]
        found = [self._list_row(table, *pair, *lists) for pair, lists in zip(taken.items(), best, strict=True)]
        return [row for row in found if row is not None]

    def _earlier_vector(self, row: int) -> Row | None:
        item_id = self.memory.catalog.id_of(row)
        if item_id is None:
            return None
        values = self.guard.vector(row, item_id, self.settings.learning.dimension).astype("<f4").tobytes()
        name = self.settings.learning.name
        return Row(table=VECTORS, item_id=item_id, row=row, model=name, step=self.learned, values=values)

    def _values_row(self, table: str, row: int, oldest_ms: int) -> Row | None:
        item_id = self.memory.catalog.id_of(row)
        if item_id is None:
            return None
        vectors = self.network.ranker.items.weight.detach()
        values = vectors[row].numpy() if table == VECTORS else self.memory.item_features[row]
        return Row(
            table=table, item_id=item_id, row=row, model=self.settings.learning.name, step=self.learned,
            oldest_ms=oldest_ms, values=values.astype("<f4").tobytes(),
        )  # fmt: skip

    def _list_row(
        self, table: str, row: int, oldest_ms: int, items: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> Row | None:
        item_id = "*" if table == "popularity" else self.memory.catalog.id_of(row)
        if item_id is None:
            return None
        self.published[table].put(row, items, weights)
        return Row(
            table=table, item_id=item_id, row=row, model=self.settings.learning.name, step=self.learned,
            oldest_ms=oldest_ms, neighbours=items.astype("<i4").tobytes(), weights=weights.astype("<f4").tobytes(),
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact resume needs, source positions included."""
        return {
            "learned": self.learned,
            "batches": self._batches,
            "memory": self.memory.state_dict(),
            "network": self.network.state_dict(),
            "replay": self.replay.state_dict(),
            **({} if self.soft is None else {"soft": self.soft.state_dict()}),
            **({} if self.twin is None else {"twin": self.twin.state_dict()}),
            **({} if self.drift is None else {"drift": self.drift.state_dict()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; every row in use counts as changed, so that servers catch up."""
        self.learned = state["learned"]
        self._batches = state.get("batches", 0)  # snapshots of earlier versions have none
        self.memory.load_state_dict(state["memory"])
        self.network.load_state_dict(state["network"])
        self.replay.load_state_dict(state["replay"])
        if self.soft is not None and "soft" in state:
            self.soft.load_state_dict(state["soft"])
        if self.twin is not None:  # one that comes later starts where the student stands
            self.twin.load_state_dict(state.get("twin", state["network"]))
        self._resume_drift(state)
        self._publish_everything()

    def _resume_drift(self, state: dict[str, Any]) -> None:
        if "drift" not in state:  # snapshots of earlier versions have none
            return
        monitor = self.drift or self._monitor()
        monitor.load_state_dict(state["drift"])
        if self.drift is None:  # switched off meanwhile: nothing must stay raised
            monitor.policy.end_all()

    def _publish_everything(self) -> None:
        rows, now_ms = self.memory.catalog.active_rows().tolist(), time.time_ns() // 1_000_000
        for name in (VECTORS, FEATURES):
            self.pending.add(name, rows, now_ms)
        for name, learner in self.memory.counting.items():
            own = [0] if name == "popularity" else rows
            self.pending.add(name, own, now_ms)
            for row in own:  # a version may be published before these rows are taken
                self.published[name].put(row, *learner.best(row, self.settings.learning.neighbours))
