"""From a batch and the teacher's opinion of it to soft labels.

A label is about what serving would have offered (:attr:`~online_models.batch.Batch.offered`), so neither its items nor
their logits know the outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from online_models.batch import Batch
from streamer.examples import Example
from streamer.satisfaction import TASK
from streamer.soft_labels import SoftLabel, kept
from streamer.teacher_network import Opinion


class Received(NamedTuple):
    """An example and where it lies on its topic."""

    partition: int
    offset: int
    example: Example


class Weights(NamedTuple):
    """Which weights give a label: the refresh that they come from, and how many examples the teacher has taken."""

    version: str
    learnt: int


def labels_of(
    batch: Batch,
    opinion: Opinion,
    received: Sequence[Received],
    id_of: Callable[[int], str | None],
    weights: Weights,
    most: int,
) -> list[SoftLabel]:
    """One label for each example of a micro-batch, with its ``most`` best items and the one taken.

    An example for which nothing is offered has a label without items: the teacher has nothing to say, and says so.
    """
    now_ms = time.time_ns() // 1_000_000
    labels = []
    for row, (partition, offset, example) in enumerate(received):
        item_ids, logits, remainder, scored = _list_of(batch, opinion, row, id_of, most)
        label = SoftLabel(
            example_id=example.example_id,
            version=weights.version,
            event_time_ms=example.event_time_ms,
            labelled_ms=now_ms,
            partition=partition,
            offset=offset,
            item_ids=item_ids,
            logits=logits,
            remainder=remainder,
            scored=scored,
            tasks=_tasks_of(batch, opinion, row),
            learnt=weights.learnt,
        )
        labels.append(label)
    return labels


def _list_of(
    batch: Batch, opinion: Opinion, row: int, id_of: Callable[[int], str | None], most: int
) -> tuple[list[str], list[float], float, int]:
    places = np.flatnonzero(batch.offered[row].numpy())  # [K]
    item_ids = [id_of(item) or "" for item in batch.candidates.items[row, places].tolist()]
    taken = np.flatnonzero(batch.labels[row].numpy()[places])
    also = int(taken[0]) if len(taken) else None
    return *kept(item_ids, opinion.logits[row].numpy()[places], most, also), len(places)


def _tasks_of(batch: Batch, opinion: Opinion, row: int) -> dict[str, float]:
    if opinion.satisfaction is None or not bool(batch.labels[row].any()):
        return {}
    return {TASK: float(opinion.satisfaction[row])}
