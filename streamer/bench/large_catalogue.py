"""A large catalogue that is made up: items in groups, vectors and neighbour lists that agree with the groups.

What a request costs depends on the sizes of the tables, not on what was learnt, so the values are drawn. They go the
way that a trainer's go: one version through the publisher (export, parity, gate) and the registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.deltas import FEATURES, VECTORS
from exporters.manifest import Manifest
from exporters.publish import DensePublisher
from exporters.registry import Registry
from exporters.row_catalog import FIRST_ROW
from feature_store.vectors import ITEM_NAMES, NAMES
from online_models.learner import seeded
from online_models.sources import READINGS, TABLES
from streamer.events import Event
from streamer.families import make_ranker
from streamer.settings import Settings

_FAR_SHARE = 0.1  # of an item's neighbours lie in other groups
_DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class LargeCatalogue:
    """Sizes of the catalogue; item k is called ``i<k>``, sits in row k + 2 and belongs to group k // group.

    >>> catalogue = LargeCatalogue(items=100, group=20, neighbours=5)
    >>> catalogue.lists("item_knn")["item_knn.items"].shape, catalogue.name_of(7)
    ((102, 5), 'i7')
    """

    items: int = 100_000
    group: int = 500
    neighbours: int = 200
    dimension: int = 64
    seed: int = 7

    @property
    def rows(self) -> int:
        """R, with the rows for padding and for the unknown item."""
        return self.items + FIRST_ROW

    def name_of(self, number: int) -> str:
        """Id of an item."""
        return f"i{number}"

    def item_ids(self) -> list[str | None]:
        """Id of every row."""
        return [*[None] * FIRST_ROW, *(self.name_of(number) for number in range(self.items))]

    def tables(self) -> dict[str, NDArray[Any]]:
        """Every table of a version."""
        tables: dict[str, NDArray[Any]] = {VECTORS: self.vectors(), FEATURES: self._features()}
        for name in TABLES:
            tables |= self._popular() if name == "popularity" else self.lists(name)
        return tables

    def vectors(self) -> NDArray[np.float32]:
        """Items of a group lie around its centre, [R, D]."""
        random = np.random.default_rng([self.seed, 1])
        centres = random.normal(size=(self.items // self.group + 1, self.dimension))  # [groups, D]
        own = random.normal(size=(self.items, self.dimension), scale=0.7)  # [I, D]
        placed = (centres[np.arange(self.items) // self.group] + own) / np.sqrt(self.dimension)
        return np.concatenate([np.zeros((FIRST_ROW, self.dimension)), placed]).astype(np.float32)

    def lists(self, table: str) -> dict[str, NDArray[Any]]:
        """Neighbours [R, M] and weights [R, M] of one counting source: mostly of the item's group, best first."""
        random = np.random.default_rng([self.seed, 2, TABLES.index(table)])
        width = min(self.neighbours, self.group - 1)
        steps = random.permutation(np.arange(1, self.group))[:width]  # [M]
        number = np.arange(self.items)[:, None]  # [I, 1]
        near = number // self.group * self.group + (number % self.group + steps) % self.group  # [I, M]
        far = random.integers(0, self.items, near.shape)
        chosen = np.where((random.random(near.shape) < _FAR_SHARE) | (near >= self.items), far, near)
        fall = np.linspace(1, 0.05, width) * random.uniform(0.5, 2, (self.items, 1))  # [I, M]
        return {
            f"{table}.items": _rowed(chosen + FIRST_ROW, np.int32),
            f"{table}.weights": _rowed(fall, np.float32),
        }

    def item_events(self, now_ms: int) -> Iterator[Event]:
        """Give the catalogue's events: title, category, price, and a time of publication within the last year."""
        random = np.random.default_rng([self.seed, 3])
        ages_ms = random.integers(0, 365 * _DAY_MS, self.items).tolist()
        prices = random.uniform(1, 100, self.items).round(2).tolist()
        for number in range(self.items):
            yield Event(
                event_id=f"item-{number}",
                type="item",
                item_id=self.name_of(number),
                title=f"Thing {number} of group {number // self.group}",
                categories=[f"group-{number // self.group}"],
                price=prices[number],
                published_time_ms=now_ms - ages_ms[number],
                event_time_ms=now_ms,
            )

    def _popular(self) -> dict[str, NDArray[Any]]:
        random = np.random.default_rng([self.seed, 4])
        best = random.choice(self.items, min(self.neighbours, self.items), replace=False)[None]  # [1, M]
        weights = np.geomspace(1, 0.05, best.shape[1])[None]
        return {
            "popularity.items": (best + FIRST_ROW).astype(np.int32),
            "popularity.weights": weights.astype(np.float32),
        }

    def _features(self) -> NDArray[np.float32]:
        random = np.random.default_rng([self.seed, 5])
        return random.normal(size=(self.rows, len(ITEM_NAMES))).astype(np.float32)


def publish(catalogue: LargeCatalogue, settings: Settings) -> Manifest:
    """Publish the catalogue and a fresh ranker as a version in the registry.

    Raises
    ------
    exporters.errors.GateRefused
        The version did not pass parity or the gate.
    """
    sizes = settings.learning
    with seeded(sizes.seed):
        ranker = make_ranker(settings, len(READINGS))
    meta = {
        "family": sizes.family,
        "sources": list(READINGS),
        "features": list(NAMES),
        "item_features": list(ITEM_NAMES),
        "dimension": sizes.dimension,
        "history": settings.sessions.history_limit,
        "neighbours": sizes.neighbours,
    }
    publisher = DensePublisher(registry=Registry(settings.stores.models_dir), name=sizes.name)
    return publisher.publish(ranker.graphs(), catalogue.tables(), catalogue.item_ids(), meta, {}, {}, 1)


def _rowed(values: NDArray[Any], kind: type) -> NDArray[Any]:
    """Put the rows for padding and for the unknown item in front, [I, M] -> [R, M]."""
    return np.concatenate([np.zeros((FIRST_ROW, values.shape[1])), values]).astype(kind)
