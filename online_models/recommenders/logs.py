"""Logs and histories put together and taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from online_models.evaluation.interactions import Histories, Interactions


def joined(*logs: Interactions | None) -> Interactions:
    """One log of several, in the order given; the catalogue is that of the first.

    Raises
    ------
    ValueError
        There is no log.
    """
    parts = [log for log in logs if log is not None]
    if not parts:
        raise ValueError("there is no log to join; give at least one")
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        users=np.concatenate([log.users for log in parts]),
        items=np.concatenate([log.items for log in parts]),
        times_seconds=np.concatenate([log.times_seconds for log in parts]),
        actions=np.concatenate([log.actions for log in parts]),
        values=np.concatenate([log.values for log in parts]),
        tested=np.concatenate([log.tested for log in parts]),
    )


def histories_before(log: Interactions, events: Interactions) -> Histories:
    """Everything that a log holds of the users of some events, as the history of each event."""
    order = np.argsort(log.users, kind="stable")
    starts = np.searchsorted(log.users[order], np.arange(log.user_count + 1))
    lengths = starts[events.users + 1] - starts[events.users]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = order[np.arange(offsets[-1]) + np.repeat(starts[events.users] - offsets[:-1], lengths)]
    return Histories(
        offsets=offsets,
        items=log.items[flat],
        actions=log.actions[flat],
        times_seconds=log.times_seconds[flat],
        users=events.users,
        now_seconds=events.times_seconds,
    )


def concatenated(parts: Sequence[Histories]) -> Histories:
    """One block of histories out of several."""
    lengths = np.concatenate([part.lengths for part in parts])
    return Histories(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=np.concatenate([part.items for part in parts]),
        actions=np.concatenate([part.actions for part in parts]),
        times_seconds=np.concatenate([part.times_seconds for part in parts]),
        users=np.concatenate([part.users for part in parts]),
        now_seconds=np.concatenate([part.now_seconds for part in parts]),
    )


def split_newest(log: Interactions) -> tuple[Interactions, Interactions]:
    """Everything but each user's newest event, and the newest events of users with two or more."""
    places = np.arange(len(log))
    newest = np.full(log.user_count, -1)
    newest[log.users] = places  # the last write stays
    single = np.bincount(log.users, minlength=log.user_count)[log.users] < 2
    is_newest = (newest[log.users] == places) & ~single
    return log.take(~is_newest), log.take(is_newest)
