"""The teacher, without Kafka: labels every example once with frozen weights, keeps a window, refreshes on it.

An example is labelled before its outcome has taught anything: neither the weights, which change only from version to
version, nor the counts, which take it over after the label is made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_store.user_state import ItemInfo
from online_models.batch import Batch, Context
from streamer.memory import Memory
from streamer.prequential import SERVED, Prequential
from streamer.satisfaction import satisfied
from streamer.settings import Settings
from streamer.soft_labels import SoftLabel
from streamer.teacher_drift import DriftWatch
from streamer.teacher_labels import Received, labels_of
from streamer.teacher_network import TeacherNetwork
from streamer.teacher_refresh import Progress, Refreshed, refresh
from streamer.training_window import Lesson, TrainingWindow

MODEL = "teacher"


class Teacher:
    """Labels examples, and hands out refreshes of itself.

    Version 1 are the start weights: an even blend of the counting sources, which is worth a label already.

    Parameters
    ----------
    settings
        Sizes are in ``teacher`` and, for what it shares with the student, in ``learning``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, sizes = settings, settings.teacher
        self.memory = Memory(settings, self._own_candidates)
        self.network = TeacherNetwork(settings, len(self.memory.sources.names))
        directory = settings.stores.state_dir / "teacher-window"
        self.window = TrainingWindow(directory, sizes.window_examples, sizes.segment_examples)
        self.quality = Prequential()
        self.number = 1
        self.labelled = 0
        self.refreshes = 0  # that came to their end, adopted or not
        self.refreshed_s = time.time()  # wall clock of the latest: what a kill has cut off is soon begun again
        self.drifted = False
        self._drift = DriftWatch(sizes.drift_delta)
        self._asked_at = 0
        self._freed: list[NDArray[np.int64]] = []  # rows that lost their item since the refresh that runs began

    @property
    def version(self) -> str:
        """Name of the weights that label now; later versions sort behind it."""
        return f"{MODEL}-{self.number:06d}"

    @property
    def news(self) -> int:
        """How many examples have come since the latest refresh began."""
        return self.labelled - self._asked_at

    def describe(self, item: ItemInfo) -> None:
        """Take over what the catalogue says of an item."""
        self.memory.items.describe(item)
        row = self.memory.catalog.row(item.item_id)
        if row > 1:
            self.network.network.describe(row, item)

    def take(self, received: Sequence[Received]) -> list[SoftLabel]:
        """Label a micro-batch, then take over what it teaches the counts, then keep it for the next refresh.

        Examples at or before the last applied position of their partition are skipped: they have their label.
        """
        places = {one.example.source: one for one in received}
        fresh = self.memory.fresh([one.example for one in received])
        if not fresh:
            return []
        self._forget(self.memory.admit(fresh))
        batch = self.memory.build(fresh)
        opinion = self.network.judge(batch)
        own = [places[example.source] for example in fresh]
        labels = labels_of(batch, opinion, own, self.memory.catalog.id_of, self.version, self.settings.teacher.kept)
        self._judge(batch, opinion.logits)
        rows = self.memory.observe(batch, fresh)
        self.network.network.describe_new(rows, self.memory.items)
        outcomes = [satisfied(example, self.settings.teacher.long_play_seconds) for example in fresh]
        self.window.append(Lesson(batch, torch.tensor([np.nan if one is None else one for one in outcomes])))
        self.labelled += len(fresh)
        return labels

    def begin_refresh(
        self, progress: Progress = lambda done, total: None, stopping: threading.Event | None = None
    ) -> Callable[[], Refreshed]:
        """Copy weights and window, and return the work: it may run in another thread while labelling goes on."""
        self._freed, self._asked_at = [], self.labelled
        network, window, seed = self.network.copy(), self.window.view(), self.settings.learning.seed + self.refreshes
        return lambda: refresh(network, window, self.settings.teacher, seed, progress, stopping)

    def adopt(self, refreshed: Refreshed) -> bool:
        """Let the new weights label from now on, under the next version; False where they are not better.

        What has happened to the catalogue while they were trained is made up for.
        """
        self._drift.restart()
        self.drifted = False
        self.refreshes += 1
        self.refreshed_s = time.time()
        if not refreshed.better:
            return False
        old, new = self.network.network.ranker, refreshed.network.network
        for rows in self._freed:
            new.forget(rows)
        for name, value in new.ranker.named_buffers():  # what the catalogue says of items is told to the old one
            value.copy_(old.get_buffer(name))
        self.network = refreshed.network
        self.number += 1
        return True

    def _own_candidates(self, context: Context) -> NDArray[np.int64]:
        network, most = self.network.network, self.memory.builder.shape.from_model
        return network.candidates(context, self.memory.catalog.active_rows(), most)

    def _forget(self, rows: NDArray[np.int64]) -> None:
        if len(rows):
            self.network.network.forget(rows)
            self.window.forget(rows)
            self._freed.append(rows)

    def _judge(self, batch: Batch, logits: Tensor) -> None:
        self.quality.observe(batch, {SERVED: logits})
        self.drifted = self._drift.observe(_losses(batch, logits)) or self.drifted

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact resume needs; the window's files are named."""
        return {
            "number": self.number,
            "labelled": self.labelled,
            "refreshes": self.refreshes,
            "refreshed_s": self.refreshed_s,
            "memory": self.memory.state_dict(),
            "network": self.network.state_dict(),
            "window": self.window.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; the drift detector and the quality begin anew."""
        self.number, self.labelled = state["number"], state["labelled"]
        self.refreshes, self.refreshed_s = state["refreshes"], state["refreshed_s"]
        self.memory.load_state_dict(state["memory"])
        self.network.load_state_dict(state["network"])
        self.window.load_state_dict(state["window"])


def _losses(batch: Batch, logits: Tensor) -> list[float]:
    """``-log`` of the share that the item taken has among those offered, where it was offered."""
    offered = batch.offered  # [B, N]
    shares = logits.masked_fill(~offered, -torch.inf).log_softmax(1)  # [B, N]
    found: list[float] = (-shares[(batch.labels > 0) & offered]).tolist()
    return found
