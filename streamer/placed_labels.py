"""Soft labels put where they belong in a batch: item id -> catalogue row -> place among the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from online_models.batch import UNKNOWN, Batch
from online_models.catalog import Catalog
from streamer.satisfaction import TASK
from streamer.soft_labels import NOTHING, SoftLabel


def place(batch: Batch, labels: Sequence[SoftLabel | None], catalog: Catalog) -> Batch:
    """Give a batch the teacher's logits of its candidates, the remainder, and its logit of satisfaction.

    Items that the teacher kept and the student did not choose among are left out: the label then speaks of the items
    that both know. None, or an item without a row, teaches nothing.
    """
    items = batch.candidates.items.numpy()  # [B, N]
    logits = np.full(items.shape, np.nan, np.float32)
    remainder = np.full(len(items), NOTHING, np.float32)  # [B]
    satisfaction = np.full(len(items), np.nan, np.float32)  # [B]
    by_row = np.full(catalog.capacity, np.nan, np.float32)  # [R]
    for number, label in enumerate(labels):
        if label is None:
            continue
        rows = catalog.rows(label.item_ids)
        by_row[rows] = label.logits
        by_row[: UNKNOWN + 1] = np.nan
        logits[number] = by_row[items[number]]
        by_row[rows] = np.nan
        remainder[number] = label.remainder
        satisfaction[number] = label.tasks.get(TASK, np.nan)
    return replace(
        batch,
        teacher_logits=torch.from_numpy(logits),
        teacher_remainder=torch.from_numpy(remainder),
        teacher_satisfaction=torch.from_numpy(satisfaction),
    )


def places_of_taken(batch: Batch, labels: Sequence[SoftLabel | None], catalog: Catalog) -> list[int]:
    """Where the item that was taken stands in the teacher's list, from 0; -1 where it is not there.

    Examples in which nothing, several or an unknown item was taken are left out, as are those without a label.
    """
    taken = batch.candidates.items.gather(1, batch.labels.argmax(1, keepdim=True)).squeeze(1)  # [B]
    one = (batch.labels.sum(1) == 1) & (taken > UNKNOWN)
    places = []
    for row, counts, label in zip(taken.tolist(), one.tolist(), labels, strict=True):
        if counts and label is not None:
            found = np.flatnonzero(catalog.rows(label.item_ids) == row)
            places.append(int(found[0]) if len(found) else -1)
    return places
