"""The teacher, without Kafka: labels every example once, then learns it, keeps a window, refreshes on it.

An example is labelled before its outcome has taught anything: neither the weights nor the counts have seen it.
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
from online_models.batch import Context
from streamer.examples import Example
from streamer.memory import Memory
from streamer.prequential import SERVED, Prequential
from streamer.satisfaction import satisfied
from streamer.settings import Settings
from streamer.soft_labels import SoftLabel
from streamer.teacher_drift import DriftWatch
from streamer.teacher_labels import Received, Weights, labels_of
from streamer.teacher_network import TeacherNetwork, list_losses
from streamer.teacher_refresh import Progress, Refreshed, catch_up, refresh
from streamer.training_window import Lesson, TrainingWindow

MODEL = "teacher"


class Teacher:
    """Labels examples, and hands out refreshes of itself.

    Version 1 begins as an even blend of the counting sources, which is worth a label already. With ``teacher.learns``
    each micro-batch is one step as soon as it has its labels; else the weights move in refreshes alone. A version names
    the refresh that the weights come from; the number of examples taken, which every label carries, says the rest.

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
        # row that lost its item since the refresh that runs began -> number of the window's segment that was open then
        self._freed: dict[int, int] = {}
        self.judged: Refreshed | None = None  # the latest refresh, as it was decided on
        self.plotted: dict[str, float] = {}  # of the newest step

    @property
    def version(self) -> str:
        """Name of the refresh that the weights come from; later versions sort behind it."""
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
        """Label a micro-batch, then learn it, then keep it for the next refresh.

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
        weights = Weights(self.version, self.labelled)
        labels = labels_of(batch, opinion, own, self.memory.catalog.id_of, weights, self.settings.teacher.kept)
        self.quality.observe(batch, {SERVED: opinion.logits})
        self._learn(Lesson(batch, self._satisfied(fresh), list_losses(opinion.logits, batch)), fresh)
        self.labelled += len(fresh)
        return labels

    def begin_refresh(
        self, progress: Progress = lambda done, total: None, stopping: threading.Event | None = None
    ) -> Callable[[], Refreshed]:
        """Copy weights and window, and return the work: it may run in another thread while labelling goes on."""
        self._freed, self._asked_at = {}, self.labelled
        if self.settings.teacher.learns:  # the copy has learnt what is there, and nothing of what comes
            self.window.close()
        network, window, seed = self.network.copy(), self.window.view(), self.settings.learning.seed + self.refreshes
        return lambda: refresh(network, window, self.settings.teacher, seed, progress, stopping)

    def begin_catching_up(self, refreshed: Refreshed) -> Callable[[], Refreshed]:
        """Return the work that takes a refresh through most of what was learnt meanwhile; it may run in a thread too.

        What a teacher that learns has learnt since the copy was made, the copy must have learnt before it takes over.
        """
        window, freed, size = self.window.view(), dict(self._freed), self.settings.teacher.batch_examples
        if not self.settings.teacher.learns:
            return lambda: refreshed
        self._tell(refreshed.network)
        return lambda: catch_up(refreshed, window, freed, size)

    def adopt(self, refreshed: Refreshed) -> bool:
        """Let the new weights label from now on, under the next version; False where they are not better.

        What has happened while they were trained is made up for: what left the catalogue is forgotten, and a teacher
        that learns takes them through what it has learnt itself.
        """
        sizes = self.settings.teacher
        if sizes.learns:
            self._tell(refreshed.network)
            view, rest = self.window.view(), self.window.open_lessons()
            refreshed = catch_up(refreshed, view, self._freed, sizes.batch_examples, rest)
        else:
            refreshed.network.network.forget(np.array(list(self._freed), np.int64))
        self.judged = refreshed
        self._drift.restart()
        self.drifted = False
        self.refreshes += 1
        self.refreshed_s = time.time()
        if not refreshed.better:
            return False
        self._tell(refreshed.network)
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
            self._freed |= dict.fromkeys(rows.tolist(), self.window.open_number)

    def _learn(self, lesson: Lesson, examples: list[Example]) -> None:
        """Take over what a labelled micro-batch teaches: the weights first, which read the counts of before it."""
        known = lesson.losses[~lesson.losses.isnan()]  # [K]
        self.drifted = self._drift.observe(known.tolist()) or self.drifted
        if self.settings.teacher.learns:
            self.plotted = self.network.learn(lesson)
        rows = self.memory.observe(lesson.batch, examples)
        self.network.network.describe_new(rows, self.memory.items)
        self.window.append(lesson)

    def _satisfied(self, examples: list[Example]) -> Tensor:
        """Whether the items taken satisfied [B]; NaN where that is not known."""
        outcomes = [satisfied(example, self.settings.teacher.long_play_seconds) for example in examples]
        return torch.tensor([np.nan if one is None else one for one in outcomes])

    def _tell(self, network: TeacherNetwork) -> None:
        """Tell another network what the catalogue says of items, which is told to this one as it comes."""
        own = self.network.network.ranker
        for name, value in network.network.ranker.named_buffers():
            value.copy_(own.get_buffer(name))

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
