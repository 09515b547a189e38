"""What a learner keeps of the stream beside its network: the catalogue, the counts, the items, and who has seen what.

A memory turns examples into batches, and then takes over what they taught. Students and teachers each have their own.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from feature_store.item_state import ItemState
from feature_store.item_table import ItemTable
from feature_store.position_bias import PositionBias
from feature_store.vectors import ITEM_NAMES
from online_models.batch import Batch
from online_models.catalog import Catalog
from online_models.counting import Cooccurrence, ItemKNN, Popularity, Transitions
from online_models.sources import CandidateSources
from streamer.batches import BatchBuilder, BatchShape, Retrieve
from streamer.examples import Example, Position
from streamer.settings import Settings


class Memory:
    """Catalogue, counting learners, item features, seen items and the positions of what was applied.

    Call in this order: :meth:`fresh`, :meth:`admit`, :meth:`build`, then learn the batch, then :meth:`observe`: a batch
    holds what was known before it.

    Parameters
    ----------
    settings
        Sizes and seed.
    retrieve
        Optional: contexts -> rows [B, K] that the network itself would retrieve.
    """

    def __init__(self, settings: Settings, retrieve: Retrieve | None = None) -> None:
        sizes = settings.learning
        self.catalog = Catalog(rows=sizes.catalog_rows, admission_sightings=sizes.admission_sightings)
        learners = (
            ItemKNN(sizes.catalog_rows),
            Cooccurrence(sizes.catalog_rows),
            Transitions(sizes.catalog_rows),
            Popularity(sizes.catalog_rows),
        )
        self.counting = {learner.name: learner for learner in learners}
        self.sources = CandidateSources(self.counting)
        self.items = ItemTable(capacity=sizes.catalog_rows)
        self.item_features = np.zeros((sizes.catalog_rows, len(ITEM_NAMES)), np.float32)  # [R, G]
        shape = BatchShape(history=settings.sessions.history_limit, candidates=sizes.candidates)
        self.builder = BatchBuilder(
            self.catalog, self.sources, self.item_features, shape, retrieve, sizes.seed, self._title
        )
        self.positions: dict[int, Position] = {}
        self.duplicates = 0

    def fresh(self, examples: list[Example]) -> list[Example]:
        """Those that lie behind the last applied position of their partition; they count as applied from now on."""
        return [example for example in examples if self._is_new(example)]

    def admit(self, examples: list[Example]) -> NDArray[np.int64]:
        """Give taken items a row; returns the rows [K] that lost their item by it, forgotten here already."""
        self.builder.admit(examples)
        rows = np.array([row for row, _ in self.catalog.take_freed()], np.int64)
        if len(rows):
            self.item_features[rows] = 0
            for learner in self.counting.values():
                learner.forget(rows)
        return rows

    def build(self, examples: list[Example]) -> Batch:
        """Turn examples into one batch, with their candidates and scores as they are now."""
        return self.builder.build(examples)

    def observe(self, batch: Batch, examples: list[Example]) -> dict[int, str]:
        """Take over what the examples taught; returns the rows whose item was taken or shown, with their ids."""
        for learner in self.counting.values():
            learner.learn(batch)
        for example in examples:
            if example.item_id is not None:
                self.items.observe_interaction(example.item_id, example.action, example.event_time_ms)
            if example.slate and example.outcomes:
                self.items.observe_slate(example.slate, example.outcomes, example.event_time_ms)
        rows = self._touched(examples)
        if rows:
            now_ms = max(example.event_time_ms for example in examples)
            self.item_features[list(rows)] = self.items.vectors(list(rows.values()), now_ms)
        return rows

    def _is_new(self, example: Example) -> bool:
        partition = example.source.partition
        last = self.positions.get(partition)
        if last is not None and example.source <= last:
            self.duplicates += 1
            return False
        self.positions[partition] = example.source
        return True

    def _touched(self, examples: list[Example]) -> dict[int, str]:
        item_ids = {i for e in examples for i in (e.item_id, *(e.slate or ())) if i is not None}
        return {row: item_id for item_id in sorted(item_ids) if (row := self.catalog.row(item_id)) > 1}

    def _title(self, item_id: str) -> str:
        state = self.items.get(item_id)
        return state.title if state is not None else ""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact resume needs, source positions included."""
        return {
            "positions": {str(number): [p.partition, p.offset, p.index] for number, p in self.positions.items()},
            "duplicates": self.duplicates,
            "catalog": self.catalog.state_dict(),
            "counting": {name: learner.state_dict() for name, learner in self.counting.items()},
            "builder": self.builder.state_dict(),
            "item_features": self.item_features,
            "items": np.frombuffer(msgspec.msgpack.encode((self.items.states(), self.items.bias)), np.uint8),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.positions = {int(number): Position(*parts) for number, parts in state["positions"].items()}
        self.duplicates = state["duplicates"]
        self.catalog.load_state_dict(state["catalog"])
        for name, learner in self.counting.items():
            learner.load_state_dict(state["counting"][name])
        self.builder.load_state_dict(state["builder"])
        self.item_features[:] = np.asarray(state["item_features"])
        packed = np.asarray(state["items"]).tobytes()
        states, bias = msgspec.msgpack.decode(packed, type=tuple[list[ItemState], PositionBias])
        self.items.restore(states, bias)
