"""The foundation process: reads the event log, refreshes the model, publishes users and items in one space.

A refresh is: new events of the log, what the model so far makes of them, a step for each batch of windows, a snapshot,
then the publication. The snapshot
holds the weights and where the log was read to, so a crash before it repeats the refresh, and one after it only
publishes again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporters.foundation import MODEL
from exporters.registry import Registry
from feature_store.online import OnlineStore
from feature_store.user_vectors import UserVectors
from online_models.batch import UNKNOWN
from online_models.foundation.incremental import refresh
from online_models.foundation.judging import recall_of_newest
from online_models.foundation.learner import FoundationLearner
from online_models.foundation.model import FoundationModel
from online_models.foundation.windows import Mixed
from streamer import metrics
from streamer.announcing import announce
from streamer.foundation_intake import Intake
from streamer.foundation_space import SpacePublisher, Vectors
from streamer.settings import Settings
from streamer.snapshots import SnapshotStore

Progress = Callable[[str, int, int], None]  # what is done, steps done, steps in all
_USERS_AT_ONCE = 256
_FILLING_SECONDS = 10.0  # between two looks at a log that is too short for the first training

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """The process was asked to end in the middle of a refresh: the last snapshot stands."""


class Foundation:
    """Everything of one process.

    Parameters
    ----------
    settings
        All settings; sizes are in ``foundation``.
    progress
        Told after each step.
    """

    def __init__(self, settings: Settings, progress: Progress | None = None) -> None:
        self.settings, sizes = settings, settings.foundation
        self.learner = FoundationLearner(_config(settings))
        self.refreshes = 0
        self.stopping = threading.Event()
        self._unlearnt = 0  # events read that no training has seen
        self._progress = progress
        self._published = 0  # refreshes behind what was published last; after a restart it is published again
        self._snapshots = SnapshotStore(settings.stores.snapshots_dir / MODEL)
        stores = settings.stores
        self._items = OnlineStore.open(stores.feast_dir, stores.online_store, stores.redis_url)
        self.intake = Intake(settings, self.learner, self._items.read_item)
        self._users = UserVectors.open(stores.feast_dir, stores.online_store, stores.redis_url)
        tell = partial(announce, bootstrap_servers=settings.kafka.bootstrap_servers, timeout_seconds=3.0)
        self._publisher = SpacePublisher(
            Registry(stores.models_dir), self._users, sizes.most_residual, tell if sizes.announce else None
        )

    def resume(self) -> None:
        """Go on from the latest snapshot, where there is one."""
        snapshot = self._snapshots.latest()
        if snapshot is not None:
            self.load_state_dict(snapshot.state)
            _log.info("resumed after %d refreshes, %d users", self.refreshes, len(self.intake.store))

    def run(self) -> None:
        """Refresh again and again until :attr:`stopping` is set."""
        while not self.stopping.is_set():
            try:
                self.run_once()
            except Stopped:
                return
            pause = self.settings.foundation.refresh_seconds
            self.stopping.wait(pause if self.refreshes else min(pause, _FILLING_SECONDS))

    def run_once(self) -> dict[str, float]:
        """Read, judge, learn, save, publish; returns what to plot. Without new events there is nothing to learn."""
        started = time.monotonic()
        self._unlearnt += self.intake.read(self._check_stopping)
        plotted = {"events": float(self._unlearnt), "users": float(len(self.intake.store))}
        if self._unlearnt >= (1 if self.refreshes else self.settings.foundation.first_events):
            plotted |= self._judge()
            plotted |= self._learn()
            self._unlearnt = 0
            self._snapshots.save(self.state_dict(), {"model": MODEL, "refreshes": self.refreshes})
        if self._published < self.refreshes and len(self.intake.catalog):
            plotted |= self._publish(plotted.get("loss", 0.0))
            metrics.FOUNDATION_REFRESH_SECONDS.observe(time.monotonic() - started)
        return plotted

    def close(self) -> None:
        """Close the connections."""
        self._items.close()
        self._users.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a restart needs."""
        return {
            "learner": self.learner.state_dict(),
            "intake": self.intake.state_dict(),
            "refreshes": self.refreshes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; what it holds is published again."""
        self.learner.load_state_dict(state["learner"])
        self.intake.load_state_dict(state["intake"])
        self.refreshes = state["refreshes"]

    def _judge(self) -> dict[str, float]:
        """Rank new events before they are learnt; the first training has no model to ask."""
        if not self.refreshes:
            return {}
        sizes = self.settings.foundation
        found = recall_of_newest(
            self.learner, self.intake.store, rows=self._rows(), most_users=sizes.judged_users, seed=self.refreshes
        )
        for scorer, name in (("model", "recall"), ("popular", "popular_recall")):
            if name in found:
                metrics.FOUNDATION_RECALL.labels(scorer=scorer).set(found[name])
        return found

    def _rows(self) -> int:
        """Catalogue rows in use."""
        return int(self.intake.catalog.active_rows().max(initial=UNKNOWN)) + 1

    def _learn(self) -> dict[str, float]:
        sizes = self.settings.foundation
        if self.refreshes == 0:
            plotted = self._fit()
        else:
            step = self._stepped("refresh")
            plotted = refresh(
                self.learner, self.intake.store, self.refreshes, replay_share=sizes.replay_share, after_step=step
            )
        self.refreshes += 1
        metrics.FOUNDATION_WINDOWS.labels(kind="newest").inc(plotted["windows"] - plotted["replayed"])
        metrics.FOUNDATION_WINDOWS.labels(kind="replayed").inc(plotted["replayed"])
        return plotted

    def _fit(self) -> dict[str, float]:
        """First training: mixed windows over all that the log holds."""
        sizes, losses = self.settings.foundation, list[float]()
        rule = Mixed(sizes.length, max(sizes.recent, sizes.length), seed=sizes.seed)
        steps = sizes.first_epochs * max(-(-len(self.intake.store) // sizes.batch_windows), 1)
        step = self._stepped("first training")

        def after(done: int, plotted: dict[str, float]) -> None:
            losses.append(plotted["loss"])
            step(done, steps, plotted)

        self.learner.fit(self.intake.store, rule, steps, after_step=after)
        self.intake.store.learnt()
        windows = float(sizes.first_epochs * len(self.intake.store))
        loss = float(np.mean(losses[-50:])) if losses else 0.0
        return {"loss": loss, "windows": windows, "replayed": 0.0, "steps": float(len(losses))}

    def _publish(self, loss: float) -> dict[str, float]:
        used = self._rows()
        vectors = Vectors(
            items=self.learner.item_vectors(torch.arange(used)),
            item_ids=[self.intake.catalog.id_of(row) for row in range(used)],
            sightings=self.learner.model.item_encoder.sightings[:used],
            users=self._user_vectors(),
            step=self.learner.steps,
            offsets=self.intake.log.state_dict(),
            metrics={"loss": loss},
        )
        written, space, users = self._publisher.publish(vectors)
        self._published = self.refreshes
        metrics.FOUNDATION_VERSION.set(written.step)
        metrics.FOUNDATION_USERS.set(users)
        metrics.FOUNDATION_ITEMS.set(len(self.intake.catalog))
        metrics.FOUNDATION_RESIDUAL.set(space.alignment.residual)
        metrics.PUBLISHED_MODELS.labels(kind=MODEL).inc()
        return {
            "version": float(written.number),
            "alignment_residual": space.alignment.residual,
            "published_users": float(users),
            "published_items": float(len(self.intake.catalog)),
        }

    def _user_vectors(self) -> Iterator[tuple[list[str], Tensor]]:
        users, length = [str(user) for user in self.intake.store.users()], self.settings.foundation.length
        now_seconds = float(self.learner.model.item_encoder.clock_seconds)
        for first in range(0, len(users), _USERS_AT_ONCE):
            part = users[first : first + _USERS_AT_ONCE]
            starts = np.maximum(self.intake.store.lengths(part) - length, 0)
            yield (
                part,
                self.learner.user_vectors(self.intake.store.cut(part, starts, length, asked_seconds=now_seconds)),
            )
            self._tell("users", min(first + _USERS_AT_ONCE, len(users)), len(users))

    def _stepped(self, what: str) -> Callable[[int, int, dict[str, float]], None]:
        def after(done: int, steps: int, plotted: dict[str, float]) -> None:
            self._check_stopping()
            metrics.show_learning(MODEL, plotted, {})
            self._tell(what, done, steps)

        return after

    def _tell(self, what: str, done: int, steps: int) -> None:
        if self._progress is not None:
            self._progress(what, done, steps)

    def _check_stopping(self) -> None:
        if self.stopping.is_set():
            raise Stopped


def _config(settings: Settings) -> FoundationLearner.Config:
    sizes = settings.foundation
    model = FoundationModel.Config(
        catalog_rows=settings.learning.catalog_rows,
        dimension=sizes.dimension,
        layers=sizes.layers,
        length=sizes.length,
        dropout=sizes.dropout,
        id_mask_rate=sizes.id_mask_rate,
    )
    return FoundationLearner.Config(
        model=model, learning_rate=sizes.learning_rate, batch_windows=sizes.batch_windows, seed=sizes.seed
    )
