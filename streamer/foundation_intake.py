"""What the foundation model learns from: the event log as histories of catalogue rows, and what is known of items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from feature_store.item_state import ItemState
from online_models.batch import UNKNOWN
from online_models.catalog import Catalog
from online_models.foundation import metadata
from online_models.foundation.histories import HistoryStore
from online_models.foundation.incremental import start_new_items
from online_models.foundation.learner import FoundationLearner
from online_models.foundation.weights import event_weights
from online_models.vocabulary import action_row
from streamer.foundation_log import LogReader
from streamer.settings import Settings

_MOST_ASKED = 2_000  # items whose metadata are asked for in one refresh


class Intake:
    """Reads what the log has gained: gives items their rows, users their histories, and tells the learner of both.

    Parameters
    ----------
    settings
        Sizes, and where the log lies.
    learner
        Told of sightings, of metadata, of items that came and of items that left.
    read_item
        What the feature store knows of an item: asked where the log says nothing.
    """

    def __init__(
        self, settings: Settings, learner: FoundationLearner, read_item: Callable[[str], ItemState | None]
    ) -> None:
        sizes = settings.foundation
        self.catalog = Catalog(rows=settings.learning.catalog_rows)
        self.store = HistoryStore(sizes.most_events, sizes.most_users)
        self.log = LogReader(settings.stores.event_log_dir)
        self._learner, self._read_item = learner, read_item
        self._draw = torch.Generator().manual_seed(sizes.seed)
        self._undescribed: dict[str, None] = {}  # items whose metadata nobody has said yet
        self._new: dict[int, None] = {}  # rows that were given since the last training

    def read(self, after_flush: Callable[[], None] = lambda: None) -> int:
        """Append the log's new events to the histories; returns how many interactions."""
        count = 0
        for rows in self.log.read():
            for row in rows:
                self._describe(row)
            taken = [row for row in rows if row["type"] == "interaction" and row["user_id"] and row["item_id"]]
            self._append(taken)
            count += len(taken)
            after_flush()
        self._ask_for_metadata()
        start_new_items(self._learner.model, torch.tensor(list(self._new), dtype=torch.int64), self._draw)
        self._new.clear()
        return count

    def state_dict(self) -> dict[str, Any]:
        """Catalogue, histories, and where the log was read to."""
        return {
            "catalog": self.catalog.state_dict(),
            "store": self.store.state_dict(),
            "log": self.log.state_dict(),
            "draw": self._draw.get_state(),
            "undescribed": list(self._undescribed),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.catalog.load_state_dict(state["catalog"])
        self.store.load_state_dict(state["store"])
        self.log.load_state_dict(state["log"])
        self._draw.set_state(state["draw"])
        self._undescribed = dict.fromkeys(state["undescribed"])

    def _append(self, rows: list[dict[str, Any]]) -> None:
        """Give new items their rows, then append: in the log's order, which is a user's own."""
        if not rows:
            return
        for row in rows:
            self._admit(row)
        # asked once all are in: a late newcomer may have taken the row of an item that came before it
        placed = self.catalog.rows(row["item_id"] for row in rows)
        actions = np.array([action_row(row["action"]) for row in rows], np.int64)
        values = np.array([np.nan if row["value"] is None else row["value"] for row in rows], np.float32)
        times = np.array([row["event_time_ms"] / 1_000 for row in rows])
        weights = event_weights(actions, values)
        for row, item, action, time_s, weight in zip(rows, placed, actions, times, weights, strict=True):
            self.store.append(row["user_id"], int(item), int(action), float(time_s), float(weight))
        self._learner.observe(placed, times)

    def _admit(self, row: dict[str, Any]) -> int:
        """Row of an event's item; what it takes from another item is cleared first."""
        item_id = row["item_id"]
        is_new = item_id not in self.catalog
        place = self.catalog.admit(item_id, row["event_time_ms"] / 1_000)
        freed = [old for old, _ in self.catalog.take_freed()]
        if freed:
            self._learner.forget(np.array(freed, np.int64))
            self.store.forget_rows(freed)
        if is_new and place > UNKNOWN:
            self._new[place] = None
            self._undescribed[item_id] = None
        return place

    def _describe(self, row: dict[str, Any]) -> None:
        if row["type"] != "item" or not row["item_id"]:
            return
        place = self._admit(row)
        if place > UNKNOWN:
            self._take_over(place, row["categories"] or [], row["title"] or "", row["price"], row["published_time_ms"])
            self._undescribed.pop(row["item_id"], None)

    def _ask_for_metadata(self) -> None:
        """Take titles, categories and prices of new items from the feature store, where the trainer puts them."""
        for item_id in list(self._undescribed)[:_MOST_ASKED]:
            found, place = self._read_item(item_id), self.catalog.row(item_id)
            del self._undescribed[item_id]
            if place > UNKNOWN and found is not None and (found.title or found.categories):
                self._take_over(place, found.categories, found.title, found.price, found.published_time_ms)
            elif place > UNKNOWN:
                self._undescribed[item_id] = None  # asked again, behind the others

    def _take_over(
        self, row: int, categories: list[str], title: str, price: float | None, published_ms: int | None
    ) -> None:
        config = self._learner.config.model
        found = metadata.tokens(categories, title, price, slots=config.slots, buckets=config.buckets)
        published = None if published_ms is None else published_ms / 1_000
        self._learner.model.item_encoder.describe(row, torch.from_numpy(found), published)
