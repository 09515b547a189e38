"""One refresh of the teacher: a copy trains on the window, and is judged on the newest part, which it has not seen."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from online_models.batch import take
from streamer.settings import Teacher as Sizes
from streamer.teacher_network import TeacherNetwork
from streamer.training_window import Lesson, WindowView

Progress = Callable[[int, int], None]  # examples trained on so far, and in all


class Stopped(Exception):
    """The process was asked to end in the middle of a refresh: the version before it stands."""


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What a refresh has come to."""

    network: TeacherNetwork
    loss_before: float  # on what was held out
    loss_after: float
    steps: int
    trained: int  # examples, each epoch counted
    held_out: int
    seconds: float

    @property
    def better(self) -> bool:
        """Whether the new weights may take over: trained, finite, and not worse on what was held out."""
        return self.steps > 0 and math.isfinite(self.loss_after) and not self.loss_after > self.loss_before

    def metrics(self) -> dict[str, float]:
        """Figures of the announcement."""
        return {
            "held_out_loss_before": self.loss_before,
            "held_out_loss_after": self.loss_after,
            "trained_examples": float(self.trained),
            "held_out_examples": float(self.held_out),
            "seconds": self.seconds,
        }


def refresh(
    network: TeacherNetwork,
    window: WindowView,
    sizes: Sizes,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
    stopping: threading.Event | None = None,
) -> Refreshed:
    """Train ``network`` over the window, in place, within ``most_refresh_seconds``.

    Parameters
    ----------
    network
        A copy of the version that labels: its weights and its optimiser are where the training starts.
    window
        Examples; its newest ``held_out_share`` judge and are not trained on until the window has moved on.
    sizes
        Epochs, batch, share and time.
    seed
        Of the order of the examples.
    progress
        Told after every step.
    stopping
        Ends the refresh early, without a result.

    Raises
    ------
    Stopped
        ``stopping`` was set.
    """
    started = time.monotonic()
    training, held_out = window.split(sizes.held_out_share)
    before, judged = _held_out_loss(network, held_out)
    total = sizes.epochs * sum(segment.examples for segment in training.segments)
    steps = trained = 0
    for lesson in _batches(training, sizes, np.random.default_rng(seed)):
        if stopping is not None and stopping.is_set():
            raise Stopped
        if time.monotonic() - started > sizes.most_refresh_seconds:
            break
        network.learn(lesson)
        steps, trained = steps + 1, trained + len(lesson)
        progress(trained, total)
    after, _ = _held_out_loss(network, held_out)
    return Refreshed(
        network=network,
        loss_before=before,
        loss_after=after,
        steps=steps,
        trained=trained,
        held_out=judged,
        seconds=time.monotonic() - started,
    )


def _batches(window: WindowView, sizes: Sizes, random: np.random.Generator) -> Iterator[Lesson]:
    """Shuffle segments and, within a segment, examples: one segment at a time is in memory."""
    for _ in range(sizes.epochs):
        for lesson in window.lessons(random.permutation(len(window.segments))):
            order = torch.from_numpy(random.permutation(len(lesson)))
            for part in torch.split(order, sizes.refresh_batch):
                yield Lesson(take(lesson.batch, part), lesson.satisfied[part])


def _held_out_loss(network: TeacherNetwork, window: WindowView) -> tuple[float, int]:
    """Mean loss, and over how many examples; 0 where nothing can be judged."""
    sums = [network.list_loss(lesson.batch) for lesson in window.lessons()]
    counted = sum(count for _, count in sums)
    return (sum(loss for loss, _ in sums) / counted if counted else 0.0), counted
