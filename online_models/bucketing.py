"""Histories as training batches: cut to windows, put with others of their length, so that no padding is encoded."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.batch import PADDING
from online_models.evaluation.interactions import Histories, Interactions, Rows
from online_models.sequences import Sequences


def by_user(interactions: Interactions) -> Histories:
    """Every user's events in stream order, users in rising order; asked about at the time of their newest event."""
    order = np.argsort(interactions.users, kind="stable")
    users, counts = np.unique(interactions.users, return_counts=True)
    ends = np.cumsum(counts)
    times = interactions.times_seconds[order]
    return Histories(
        offsets=np.concatenate([[0], ends]).astype(np.int64),
        items=interactions.items[order],
        actions=interactions.actions[order],
        times_seconds=times,
        users=users,
        now_seconds=times[ends - 1] if len(ends) else np.zeros(0),
    )


def windows(histories: Histories, targets: int, shift: int = 0) -> Histories:
    """Cut histories from the newest end into windows in which each event is a target once.

    A window holds up to ``targets`` events and the one before them. With ``shift`` the newest window is shorter by so
    many, so that another shift in every epoch puts the cuts elsewhere. Histories of one event have no window.

    >>> cut = windows(Histories.of([[2, 3, 4, 5, 6], [7]]), targets=3)
    >>> [cut.items_of(place).tolist() for place in range(len(cut))]
    [[2, 3], [3, 4, 5, 6]]
    """
    starts, ends, owners = [], [], []
    lengths = histories.lengths
    newest = np.maximum(targets - shift % targets, 1)
    ends_left, size = lengths.copy(), np.where(lengths - 1 > targets, newest, targets)  # [B]
    while (open_places := np.flatnonzero(ends_left > 1)).size:
        end = ends_left[open_places]
        start = np.maximum(end - size[open_places] - 1, 0)
        starts.append(start)
        ends.append(end)
        owners.append(open_places)
        ends_left[open_places] = start + 1
        size[:] = targets
    if not owners:
        return histories.take(np.zeros(0, np.int64))
    return _cut(histories, *(np.concatenate(part) for part in (owners, starts, ends)))


def _cut(histories: Histories, owners: Rows, starts: Rows, ends: Rows) -> Histories:
    order = np.lexsort((starts, owners))
    owners, starts, ends = owners[order], starts[order], ends[order]
    offsets = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64)
    flat = np.arange(offsets[-1]) + np.repeat(histories.offsets[owners] + starts - offsets[:-1], ends - starts)
    columns = {name: getattr(histories, name)[flat] for name in ("items", "actions", "times_seconds")}
    return Histories(
        offsets=offsets,
        users=histories.users[owners],
        now_seconds=histories.times_seconds[histories.offsets[owners] + ends - 1],
        **columns,
    )


def batches(lengths: Rows, positions: int, random: np.random.Generator) -> list[Rows]:
    """Draw an epoch: places of about ``positions`` events a batch, of almost one length within it, in random order.

    >>> [sorted(batch.tolist()) for batch in batches(np.array([9, 2, 2, 9]), 18, np.random.default_rng(0))]
    [[0, 3], [1, 2]]
    """
    order = random.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    groups, first = [], 0
    while first < len(order):
        # the longest of a batch sets its width, so the batch ends where width times number is enough
        width = lengths[order[first:]] * np.arange(1, len(order) - first + 1)
        number = max(int(np.searchsorted(width, positions, side="right")), 1)
        groups.append(order[first : first + number])
        first += number
    return [groups[place] for place in random.permutation(len(groups))]


def sequences(histories: Histories, width: int, targets: Rows | None = None) -> Sequences:
    """Newest ``width`` events of each history, no wider than the longest, as a batch.

    Parameters
    ----------
    histories
        Asked about at their ``now_seconds``.
    width
        Columns at most.
    targets
        [B] how many of the newest events are to be learnt; all but the first where None.

    >>> sequences(Histories.of([[5], [6, 7, 8]]), 2).items.tolist()
    [[0, 5], [7, 8]]
    """
    width = max(min(width, int(histories.lengths.max(initial=0))), 1)
    items = histories.padded("items", width)  # [B, T]
    return of_columns(
        items,
        histories.padded("actions", width),
        histories.padded("times_seconds", width),
        target_weights(items, targets),
        histories.users,
        histories.now_seconds,
    )


def target_weights(items: Rows, targets: Rows | None = None) -> NDArray[np.float32]:
    """1 at the newest ``targets`` [B] events that have one before them, else 0. [B, T].

    >>> target_weights(np.array([[0, 5, 6, 7]]), np.array([1])).tolist()
    [[0.0, 0.0, 0.0, 1.0]]
    """
    real = items != PADDING  # [B, T]
    follows = np.zeros_like(real)
    follows[:, 1:] = real[:, 1:] & real[:, :-1]
    if targets is not None:
        follows &= np.arange(items.shape[1], 0, -1) <= targets[:, None]
    weights: NDArray[np.float32] = follows.astype(np.float32)
    return weights


def of_columns(
    items: Rows,
    actions: Rows,
    times_seconds: NDArray[np.float64],
    weights: NDArray[np.float32],
    users: Rows,
    asked_seconds: NDArray[np.float64],
) -> Sequences:
    """Hand columns [B, T] to torch."""
    return Sequences(
        items=torch.from_numpy(np.ascontiguousarray(items)),
        actions=torch.from_numpy(np.ascontiguousarray(actions)),
        times_seconds=torch.from_numpy(np.ascontiguousarray(times_seconds)),
        target_weights=torch.from_numpy(np.ascontiguousarray(weights)),
        users=torch.from_numpy(users),
        asked_seconds=torch.from_numpy(np.ascontiguousarray(asked_seconds)),
    )
