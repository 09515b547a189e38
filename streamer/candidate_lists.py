"""The lists of a batch: what serving would have retrieved, what was taken or shown, and uniform negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from online_models.distinct import distinct, numbers_within
from online_models.neighbours import Neighbours
from online_models.source_lists import SourceLists, examples_at_once, read_many

Rows = NDArray[np.int64]
Entry = TypeVar("Entry", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the lists of B examples are made for.

    Parameters
    ----------
    histories
        [B, L] rows, newest last.
    targets
        [B] row of what was taken, 0 where nothing was.
    seen
        Rows that each user has taken before: they are not offered.
    slates
        Rows that were shown and not taken before, of each example.
    taken_before
        Rows of the slate that were taken before the target, of each example.
    extra
        [B, K] rows that the model itself would retrieve, best first, 0 where there are none.
    negatives
        [M] rows drawn for the whole batch, none twice.
    """

    histories: Rows
    targets: Rows
    seen: Sequence[Rows]
    slates: Sequence[Rows]
    taken_before: Sequence[Rows]
    extra: Rows
    negatives: Rows

    def part(self, first: int, last: int) -> Asked:
        """Those of some examples."""
        here = slice(first, last)
        return Asked(
            histories=self.histories[here],
            targets=self.targets[here],
            seen=self.seen[here],
            slates=self.slates[here],
            taken_before=self.taken_before[here],
            extra=self.extra[here],
            negatives=self.negatives,
        )


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Lists of B examples, padded to the longest: rows [B, N], scores [B, N, S], and where each row comes from."""

    rows: Rows
    scores: NDArray[np.float32]
    offered: NDArray[np.bool_]  # [B, N] serving would have offered it
    drawn: NDArray[np.bool_]  # [B, N] a uniform negative


def make_lists(tables: dict[str, Neighbours], asked: Asked, limit: int, rows: int) -> Lists:
    """Take what serving would have retrieved, then the target, the rest of a logged slate, and uniform negatives.

    Only the first part counts as offered, whoever made the slate: what was clicked among the items that another policy
    chose does not tell which items to choose. All scores come from one reading, also where a slate has logged ones: a
    score says something only beside those of the whole list.

    Parameters
    ----------
    tables
        Neighbour lists by table.
    asked
        The examples.
    limit
        Most rows that serving retrieves.
    rows
        What every catalogue row is below.
    """
    size, step = len(asked.targets), examples_at_once(rows)
    parts = [_lists(tables, asked.part(first, first + step), limit, rows) for first in range(0, size, step)]
    most = max(max(part.rows.shape[1] for part in parts), 1)
    return Lists(
        rows=_stacked([part.rows for part in parts], most),
        scores=_stacked([part.scores for part in parts], most),
        offered=_stacked([part.offered for part in parts], most),
        drawn=_stacked([part.drawn for part in parts], most),
    )


def _lists(tables: dict[str, Neighbours], asked: Asked, limit: int, rows: int) -> Lists:
    read = read_many(tables, asked.histories, rows)
    # The history is fresher than what earlier batches left: a user's last few items may sit in this very batch.
    seen = np.concatenate([_keys(read, asked.seen), read.keys_of(asked.histories).ravel()])
    closed = np.zeros(read.examples * rows, np.bool_)
    closed[seen] = True
    offered = read.best(limit, closed, asked.extra)
    closed[seen] = False  # what was taken is in its list, seen before or not
    closed[read.keys_of(np.tile([0, 1], (read.examples, 1)))] = True
    closed[offered] = True
    added = distinct(_keys(read, [[target, *slate] for target, slate in zip(asked.targets, asked.slates, strict=True)]))
    added = added[~closed[added]]
    closed[seen], closed[added], closed[_keys(read, asked.taken_before)] = True, True, True
    drawn = read.keys_of(np.tile(asked.negatives, (read.examples, 1))).ravel()
    return _in_lines(read, offered, added, drawn[~closed[drawn]])


def _keys(read: SourceLists, parts: Sequence[Rows | list[int]]) -> Rows:
    """Keys of each example's rows, one after the other."""
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    flat = np.concatenate([np.asarray(part, np.int64) for part in parts])
    keys: Rows = owners * read.rows + flat
    return keys


def _in_lines(read: SourceLists, *parts: Rows) -> Lists:
    """Put what was offered, added and drawn behind each other, a line for each example; no key is in two of them."""
    owners = [part // read.rows for part in parts]
    counts = [np.bincount(owner, minlength=read.examples) for owner in owners]  # [B] each
    starts = np.cumsum([np.zeros(read.examples, np.int64), *counts], axis=0)
    shape = read.examples, int(starts[-1].max())
    rows, origin = np.zeros(shape, np.int64), np.full(shape, -1)
    scores = np.zeros((*shape, read.sources), np.float32)
    known = np.split(read.of(np.concatenate(parts)), np.cumsum([len(part) for part in parts])[:-1])  # [K, S] each
    for number, (part, owner) in enumerate(zip(parts, owners, strict=True)):
        places = starts[number][owner] + numbers_within(owner)
        rows[owner, places], origin[owner, places] = part - owner * read.rows, number
        scores[owner, places] = known[number]
    return Lists(rows=rows, scores=scores, offered=origin == 0, drawn=origin == len(parts) - 1)


def _stacked(parts: list[NDArray[Entry]], most: int) -> NDArray[Entry]:
    """Lines of all parts, padded to ``most`` entries."""
    size = sum(map(len, parts))
    stacked = np.zeros((size, most, *parts[0].shape[2:]), parts[0].dtype)
    first = 0
    for part in parts:
        stacked[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return stacked
