"""One refresh of the teacher: a copy trains on the window, catches up, and is judged on what it has not trained on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from online_models.batch import take
from streamer.settings import Teacher as Sizes
from streamer.teacher_network import TeacherNetwork
from streamer.training_window import Lesson, WindowView

Progress = Callable[[int, int], None]  # examples trained on so far, and in all


class Stopped(Exception):
    """The process was asked to end in the middle of a refresh: the version before it stands."""


@dataclass(frozen=True)
class Loss:
    """Sum of the losses of some examples, and of how many.

    >>> Loss.of(torch.tensor([1.0, torch.nan, 2.0])).plus(Loss(3.0, 1)).mean
    2.0
    """

    total: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, losses: Tensor) -> Loss:
        """Add up losses [B]; NaN does not count."""
        known = ~losses.isnan()  # [B]
        return cls(float(losses[known].sum()), int(known.sum()))

    @property
    def mean(self) -> float:
        """Loss of an example; 0 where there is none."""
        return self.total / self.count if self.count else 0.0

    def plus(self, other: Loss) -> Loss:
        """Put the examples of both together."""
        return Loss(self.total + other.total, self.count + other.count)


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What a refresh has come to so far."""

    network: TeacherNetwork
    before: Loss  # of the weights that label, on what the copy was judged by
    after: Loss  # of the copy
    steps: int
    trained: int  # examples, each epoch counted
    behind: int  # number of the newest segment of the window that the copy has been through
    seconds: float

    @property
    def better(self) -> bool:
        """Whether the new weights may take over: trained, finite, and not worse where they were judged."""
        after = self.after.mean
        return self.steps > 0 and math.isfinite(after) and not after > self.before.mean

    def metrics(self) -> dict[str, float]:
        """Figures of the announcement."""
        return {
            "held_out_loss_before": self.before.mean,
            "held_out_loss_after": self.after.mean,
            "trained_examples": float(self.trained),
            "held_out_examples": float(self.after.count),
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
    before = _loss_on(network, held_out)
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
    return Refreshed(
        network=network,
        before=before,
        after=_loss_on(network, held_out),
        steps=steps,
        trained=trained,
        behind=window.newest,
        seconds=time.monotonic() - started,
    )


def catch_up(
    refreshed: Refreshed, window: WindowView, freed: Mapping[int, int], size: int, newest: Iterable[Lesson] = ()
) -> Refreshed:
    """Let the copy of a teacher that learns go through what came while it trained: test, then learn.

    The weights that label have done the same in the meantime, so from the copy's training on both are judged on the
    same examples, which neither had seen, and what takes over lacks nothing.

    Parameters
    ----------
    refreshed
        What the refresh has come to; its network learns in place.
    window
        As it is now; segments that the copy has been through are passed by.
    freed
        Row -> number of the segment that was open when its item left, since the copy was made.
    size
        Examples in a step.
    newest
        What has come since the newest segment was closed. Only the last call may give it: it is not remembered.
    """
    started, network = time.monotonic(), refreshed.network
    before, after, number = refreshed.before, refreshed.after, refreshed.behind
    for closed, lesson in window.behind(number).numbered():
        _forget(network, freed, number, closed)
        number = closed
        for part in _parts(lesson, torch.arange(len(lesson)), size):
            before, after = before.plus(Loss.of(part.losses)), after.plus(_tested_then_learnt(network, part))
    rest = list(newest)
    if rest:
        _forget(network, freed, number, window.newest + 1)
    for lesson in rest:
        before, after = before.plus(Loss.of(lesson.losses)), after.plus(_tested_then_learnt(network, lesson))
    seconds = refreshed.seconds + time.monotonic() - started
    return replace(refreshed, before=before, after=after, behind=number, seconds=seconds)


def _tested_then_learnt(network: TeacherNetwork, lesson: Lesson) -> Loss:
    loss = Loss.of(network.list_losses(lesson.batch))
    network.learn(lesson)
    return loss


def _forget(network: TeacherNetwork, freed: Mapping[int, int], after: int, until: int) -> None:
    """Forget rows whose item left while one of these segments was open, before what came then is learnt."""
    rows = np.array([row for row, number in freed.items() if after < number <= until], np.int64)
    if len(rows):
        network.network.forget(rows)


def _batches(window: WindowView, sizes: Sizes, random: np.random.Generator) -> Iterator[Lesson]:
    """Shuffle segments and, within a segment, examples: one segment at a time is in memory."""
    for _ in range(sizes.epochs):
        for lesson in window.lessons(random.permutation(len(window.segments))):
            yield from _parts(lesson, torch.from_numpy(random.permutation(len(lesson))), sizes.refresh_batch)


def _parts(lesson: Lesson, order: Tensor, size: int) -> Iterator[Lesson]:
    for part in torch.split(order, size):
        yield Lesson(take(lesson.batch, part), lesson.satisfied[part], lesson.losses[part])


def _loss_on(network: TeacherNetwork, window: WindowView) -> Loss:
    total = Loss()
    for lesson in window.lessons():
        total = total.plus(Loss.of(network.list_losses(lesson.batch)))
    return total
