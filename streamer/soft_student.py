"""What a student does with soft labels: batches wait for theirs, and are learnt once more with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.batch import Batch
from online_models.catalog import Catalog
from streamer.distiller import Distiller
from streamer.examples import Example
from streamer.held_labels import HeldLabels
from streamer.join_figures import JoinFigures
from streamer.label_store import LabelStore
from streamer.network import Network
from streamer.placed_labels import place, places_of_taken
from streamer.settings import Settings
from streamer.soft_labels import SoftLabel
from streamer.waiting_labels import Waiting, WaitingBatches

_CLOCKS_APART_MS = 60_000  # a teacher's clock may be behind the broker's


def wall_clock_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class SoftStudent:
    """Soft labels of one student, without Kafka.

    A batch takes its hard step at once, elsewhere. It waits here until the labels of all its examples are held or its
    time is over; then the examples without a label teach nothing soft. A batch without any label is dropped: it has
    learnt its hard labels. Until the first label is seen, in the topic or in the store, only the batches of the first
    ``labels.wait_seconds`` wait: a teacher may be starting beside this student, or there may be none.

    :attr:`store`, where it is set, has the labels of examples that were written before this student followed the topic.

    Parameters
    ----------
    settings
        Limits, method.
    network
        Whose ranker learns.
    catalog
        Rows of item ids, as they are when a batch leaves.
    clock_ms
        Wall clock.
    """

    def __init__(
        self, settings: Settings, network: Network, catalog: Catalog, clock_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        limits = settings.labels
        self.catalog, self.clock_ms = catalog, clock_ms
        self.wait_ms, self.staleness_ms = round(limits.wait_seconds * 1e3), round(limits.staleness_seconds * 1e3)
        self.distiller = Distiller(settings.learning, network)
        self.held = HeldLabels(limits.held)
        self.waiting = WaitingBatches(limits.waiting_examples, limits.wait_seconds)
        self.figures = JoinFigures()
        self.store: LabelStore | None = None
        self._first_ms: int | None = None  # wall clock of the first batch since this process began

    def wait(self, batch: Batch, examples: list[Example]) -> None:
        """Let a batch wait that has been learnt by its hard labels; the labels of old examples come from the store."""
        now_ms = self.clock_ms()
        self._read_store(examples, now_ms)
        self._first_ms = now_ms if self._first_ms is None else self._first_ms
        if self.held.seen or now_ms - self._first_ms < self.wait_ms:
            self.waiting.add(batch, examples, now_ms)
        else:
            self.figures.add_missed(len(examples))

    def take(self, most: int = 2) -> list[Batch]:
        """Batches that leave, with their labels in place; those without any are only counted."""
        now_ms = self.clock_ms()
        left = [self._joined(one, now_ms) for one in self.waiting.take(self.held, now_ms, most)]
        return [batch for batch in left if batch is not None]

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Take what left with rows [K] out of what waits and what is learnt."""
        self.waiting.forget(rows)
        self.distiller.forget(rows)

    def _read_store(self, examples: list[Example], now_ms: int) -> None:
        """Hold the labels of a backlog: it is older than the topic is followed."""
        old = [e for e in examples if e.published_time_ms < now_ms - self.wait_ms and e.example_id not in self.held]
        if old and self.store is not None:
            since_ms = min(example.published_time_ms for example in old) - _CLOCKS_APART_MS
            until_ms = max(example.published_time_ms for example in old) + self.staleness_ms
            self.held.add(self.store.read([example.example_id for example in old], since_ms, until_ms).values())

    def _joined(self, one: Waiting, now_ms: int) -> Batch | None:
        labels = [self._fitting(*pair) for pair in zip(one.example_ids, one.published_ms, strict=True)]
        ages_ms = [now_ms - time for time, label in zip(one.published_ms, labels, strict=True) if label is not None]
        self.figures.add_joined(ages_ms)
        self.figures.add_missed(len(labels) - len(ages_ms))
        if not ages_ms:
            return None
        self.figures.add_places(places_of_taken(one.batch, labels, self.catalog))
        return place(one.batch, labels, self.catalog)

    def _fitting(self, example_id: str, published_ms: int) -> SoftLabel | None:
        label = self.held.pop(example_id)
        if label is not None and label.labelled_ms - published_ms > self.staleness_ms:
            self.figures.stale += 1
            return None
        return label

    def state_dict(self) -> dict[str, Any]:
        """Everything that waits, is held, or learns beside the network."""
        return {
            "waiting": self.waiting.state_dict(),
            "held": self.held.state_dict(),
            "distiller": self.distiller.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.waiting.load_state_dict(state["waiting"])
        self.held.load_state_dict(state["held"])
        self.distiller.load_state_dict(state["distiller"])
